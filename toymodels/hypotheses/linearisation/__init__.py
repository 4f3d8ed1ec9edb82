"""Linearisation: a layer made linear by freezing what its activation multiplies z with, and how much must be frozen.

    z = W_in E x + b_in,  a = s(z) z,  h = gain (a - mean a) r(a) + bias,  y = W_out h + b_out,  r = (var a + eps)^-1/2

Every activation that is 0 at 0 is a *mask* s times z: ReLU's is 0 or 1, GeLU's Phi(z), SoLU's softmax(z). With s and
LayerNorm's scale r held at an example x0 the read-out y is affine in x, and exact at x0: so an attention layer is
linear once its pattern is frozen (Elhage et al. 2021, *A Mathematical Framework for Transformer Circuits*). Whether
that helps depends on how far from x0 it holds, and on how many bits say which affine map is meant:

    freezing      parts of a layer held at other examples
    neighbours    examples near to others: other values, one feature switched
    fidelity      how wrong the frozen map is there
    replaced      a layer run with the mask of another activation
    levels        masks and scales in as few levels as the loss allows
    bits          entropies of what is then frozen, and of the active set
    effective     the affine map from features to read-out that an example's mask leaves
    coverage      how many masks the data need
    asked         all of it, of the models of an arm

How linear activations are without anything frozen is another question: `toymodels.metrics.linearity`.
"""
