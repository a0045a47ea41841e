"""PostgreSQL refuses to run as root: find an ordinary account for it and let that reach its files."""

from __future__ import annotations

import errno
import os
import shutil
import struct
from pathlib import Path
from typing import TypeAlias

from tmws_local.command import Account, Command, run
from tmws_local.errors import StackError

ACCOUNT_NAME = "tmws-postgres"
# The access list of a file as Linux stores it, linux/posix_acl_xattr.h: (tag, id) to permission bits.
AccessList: TypeAlias = dict[tuple[int, int], int]
_ACL = "system.posix_acl_access"
_ACL_VERSION = 2
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
_NO_ID = 0xFFFFFFFF
_SEARCH = 0o1


def is_root() -> bool:
    """Return whether this process is root."""
    return os.name == "posix" and os.geteuid() == 0


def postgres_account(cluster: Path) -> Account | None:
    """Return the account PostgreSQL shall run as; None means our own.

    A cluster that exists goes on under its owner, since PostgreSQL insists on owning its files.
    """
    if not is_root():
        return None
    if cluster.exists() and cluster.stat().st_uid != 0:
        owner = cluster.stat()
        return Account(_name(owner.st_uid), owner.st_uid, owner.st_gid)
    account = _find(ACCOUNT_NAME) or _create(ACCOUNT_NAME) or _find("nobody")
    if account is None:
        raise StackError(
            "PostgreSQL does not run as root and no other account could be made; start TMWS as an ordinary user"
        )
    return account


def _find(name: str) -> Account | None:
    import pwd  # absent on Windows

    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _create(name: str) -> Account | None:
    program = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if program is None:
        return None
    home = ("--no-create-home", "--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin")
    run(Command((program, "--system", "--user-group", *home, name)))
    return _find(name)


def let_reach(account: Account, path: Path) -> None:
    """Let the account search `path` and every folder above it, and nothing more.

    Root's home is usually closed to others. An access list entry with only the search bit opens it to
    this one account; where the file system has no access lists, the search bit is set for everyone.
    """
    for folder in reversed((path, *path.parents)):
        if not (folder.stat().st_mode & _SEARCH or _can_search(account, folder)):
            _grant_search(account, folder)


def _can_search(account: Account, folder: Path) -> bool:
    return run(Command(("/usr/bin/test", "-x", str(folder)), account=account)).returncode == 0


def _grant_search(account: Account, folder: Path) -> None:
    try:
        os.setxattr(folder, _ACL, pack_access_list({**_access_list(folder), (_USER, account.uid): _SEARCH}))
    except (AttributeError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in {errno.ENOTSUP, errno.EPERM}:
            raise
        folder.chmod(folder.stat().st_mode | _SEARCH)


def _access_list(folder: Path) -> AccessList:
    try:
        packed = os.getxattr(folder, _ACL)
    except OSError:  # no list yet: the mode says the same
        mode = folder.stat().st_mode
        bits = ((_USER_OBJ, mode >> 6 & 7), (_GROUP_OBJ, mode >> 3 & 7), (_OTHER, mode & 7))
        return {(tag, _NO_ID): permission for tag, permission in bits}
    return {(tag, owner): permission for tag, permission, owner in _ENTRY.iter_unpack(packed[_HEADER.size :])}


def pack_access_list(entries: AccessList) -> bytes:
    """Return the list as Linux stores it, with a mask that lets each entry have what it says."""
    mask = 0
    for (tag, _), permission in entries.items():
        mask |= permission if tag not in {_USER_OBJ, _MASK, _OTHER} else 0
    ordered = sorted({**entries, (_MASK, _NO_ID): mask}.items())
    return _HEADER.pack(_ACL_VERSION) + b"".join(_ENTRY.pack(tag, bits, owner) for (tag, owner), bits in ordered)
