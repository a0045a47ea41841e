"""Wire models and events of TMWS: what the services say to each other and to callers."""
