"""`tmws demo`: what TMWS is for, shown on a stack that runs."""
