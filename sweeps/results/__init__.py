"""The results: what is derived from packs, read back, and summarised by arm."""
