"""Names that settings have elsewhere: in papers, in the notebooks of others, in PyTorch. Each leads to the right one.

A name here is no synonym that would be accepted: a sweep file has one spelling, which tables and keys share.
"""

from __future__ import annotations

from collections.abc import Collection

FRESH = "every batch is fresh, so there are no epochs"
SEEDS = 'models of a sweep differ by seed: "seed = { range = [0, 8] }" in [grid]'
SPARSE = "density is 1 - sparsity"
OTHER: dict[str, tuple[str, ...]] = {
    "features.n": ("n_features", "num_features", "n_feats", "n_feat", "d_features", "n_inputs", "d_in", "input_dim"),
    "features.density": (
        *("feature_probability", "feature_prob", "feat_prob", "activation_probability", "probability", "prob", "p"),
        *("p_active", "p_feature"),
    ),
    "features.importance": ("importances", "feature_importance", "importance_decay", "importance_base"),
    "features.values": ("distribution", "value_distribution", "feature_distribution"),
    "features.firing": ("correlation", "correlated", "anticorrelated"),
    "model.hidden": (
        *("n_hidden", "num_hidden", "d_hidden", "hidden_dim", "hidden_size", "d_mlp", "n_neurons", "num_neurons"),
        *("neurons", "width"),
    ),
    "model.activation": ("act", "act_fn", "act_func", "act_name", "activation_fn", "nonlinearity", "non_linearity"),
    "model.layer_norm": ("layernorm", "use_layer_norm", "use_layernorm", "use_ln", "ln", "norm", "normalization"),
    "model.layer_norm_eps": ("ln_eps", "layernorm_eps", "layer_norm_epsilon", "eps", "epsilon"),
    "model.layer_norm_affine": ("ln_affine", "layernorm_affine", "elementwise_affine", "affine"),
    "model.output_bias": ("bias", "b_final", "use_bias"),
    "model.tied": ("tie", "tie_weights", "tied_weights"),
    "model.init_scale": ("init_std", "weight_scale", "w_init_scale"),
    "task.loss": ("criterion", "loss_fn", "loss_func", "objective"),
    "train.steps": ("n_steps", "num_steps", "max_steps", "iterations", "n_iterations", "n_iter", "iters"),
    "train.batch": ("batch_size", "bs", "n_batch", "minibatch", "batchsize"),
    "train.optimizer": ("optim", "opt", "optimiser"),
    "train.learning_rate": ("lr", "learn_rate", "step_size", "max_lr"),
    "train.schedule": ("scheduler", "lr_schedule", "lr_scheduler", "lr_scale"),
    "train.weight_decay": ("wd", "l2", "decay"),
    "train.curve_points": ("log_freq", "log_every", "print_freq"),
    "train.snapshots": ("checkpoints", "save_every"),
    "eval.samples": ("n_samples", "num_samples", "eval_samples", "n_eval", "test_samples"),
    "seed": ("random_seed", "rng_seed", "manual_seed"),
}
"""Setting: what else it is called, where it means the same."""
REASONS: dict[str, tuple[str, str]] = {
    "sparsity": ("features.density", SPARSE),
    "feature_sparsity": ("features.density", SPARSE),
    "s": ("features.density", SPARSE),
    "epochs": ("train.steps", FRESH),
    "n_epochs": ("train.steps", FRESH),
    "num_epochs": ("train.steps", FRESH),
    "n_instances": ("seed", SEEDS),
    "num_instances": ("seed", SEEDS),
    "n_inst": ("seed", SEEDS),
    "instances": ("seed", SEEDS),
    "n_models": ("seed", SEEDS),
    "n_seeds": ("seed", SEEDS),
    "num_seeds": ("seed", SEEDS),
    "momentum": ("train.optimizer", '"sgd" has a momentum of .9, "adam" betas of .9 and .999'),
    "betas": ("train.optimizer", '"sgd" has a momentum of .9, "adam" betas of .9 and .999'),
}
"""Name: the setting to use instead, and why it is no plain synonym."""
MEANT = {name: (setting, "") for setting, names in OTHER.items() for name in names} | REASONS


def meant(name: str, settings: Collection[str]) -> tuple[str, str] | None:
    """The setting that a dotted name means though it is none, and a reason, which may be empty; None if nobody knows.

    Known are the names above, in any section, and the last part of a setting's own name in a wrong section or in none.
    """
    ends = [setting for setting in settings if setting.endswith(f".{name}")]
    last = name.rpartition(".")[2]
    ends = ends or [setting for setting in settings if setting.rpartition(".")[2] == last]
    if ends and last:
        return min(ends, key=lambda setting: (setting.count("."), setting)), ""
    return MEANT.get(last.lower().replace("-", "_"))
