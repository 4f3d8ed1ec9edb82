"""The store: the files of a run folder, whole or absent, and who may write them."""
