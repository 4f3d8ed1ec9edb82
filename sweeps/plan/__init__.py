"""The plan: which models a sweep trains, in which packs, and what identifies them."""
