"""What makes the audit log a chain: canonical forms, hashes, signatures. No I/O."""
