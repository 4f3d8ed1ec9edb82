"""Transformers: their MLP layers as hosts, and features of text that are known.

    language         a Markov language with planted latents, and the text as it would have been without one
    text_features    tokens, bigrams, latents, and directions that somebody gives
    training         small transformers, trained on such a language with nothing downloaded
    adapter          what TransformerLens computes, and what this package computes after it
    layers           MLP layers as hosts (`toymodels.hosts.layer`)

Nothing here imports TransformerLens before a transformer is made or read.
"""
