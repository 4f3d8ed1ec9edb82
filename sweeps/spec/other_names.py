"""Other names: what the settings are called elsewhere, so that whoever writes ``lr`` is told ``train.learning_rate``.

From the notebook of Elhage et al. 2022, ARENA's exercises, `torch`, and the repositories that grew from them.
"""

from __future__ import annotations

from collections.abc import Iterable

OTHERS: dict[str, str] = {
    "seed": "random_seed manual_seed rng_seed",
    "features.n": "n_features num_features nb_features n_feat n_feats d_features input_dim n_inputs d_in n_in",
    "features.density": "feature_probability feature_probabilities feature_prob feat_prob probability prob p "
    "p_active activation_probability frequency_of_features",
    "features.importance": "feature_importance importances feat_importance",
    "features.values": "feat_mag_distn feature_distribution distribution value_law magnitudes",
    "features.signed": "negative symmetric both_signs",
    "model.hidden": "n_hidden num_hidden d_hidden dim_hidden hidden_dim hidden_size hidden_units n_neurons "
    "num_neurons neurons d_mlp d_model width m n_dims bottleneck",
    "model.activation": "act act_fn act_func activation_fn activation_function nonlinearity nonlin hidden_activation",
    "model.output": "output_activation out_activation out_act final_activation output_fn",
    "model.layer_norm": "layernorm ln use_ln use_layer_norm norm normalization layer_normalization",
    "model.layer_norm_eps": "ln_eps layernorm_eps norm_eps eps",
    "model.layer_norm_affine": "ln_affine elementwise_affine",
    "model.tied": "tied_weights tie_weights tie",
    "model.hidden_bias": "b_in bias_in hidden_biases pre_bias use_bias",
    "model.output_bias": "b_out bias_out b_final final_bias bias output_biases",
    "model.init_scale": "init_std initialization_scale initialisation_scale init weight_scale",
    "model.hidden_bias_start": "bias_init init_bias initial_bias hidden_bias_init",
    "model.blocks": "n_blocks num_blocks block_diagonal",
    "model.top_k": "topk k_sparse sparse_k",
    "model.experts": "n_experts num_experts moe",
    "model.gated": "bilinear glu gate",
    "task.target": "objective label labels",
    "task.loss": "loss_fn criterion loss_function",
    "train.steps": "n_steps num_steps max_steps training_steps train_steps iterations n_iter num_iterations iters",
    "train.batch": "batch_size batchsize bs n_batch train_batch_size minibatch",
    "train.optimizer": "optim opt optimiser",
    "train.learning_rate": "lr eta learning_rates learningrate base_lr",
    "train.schedule": "lr_scale lr_schedule lr_scheduler scheduler learning_rate_schedule",
    "train.weight_decay": "wd decay l2 weightdecay",
    "train.hidden_bias_decay": "bias_decay",
    "train.load_balance": "balance_loss aux_loss load_balancing aux_loss_coef",
    "train.curve_points": "log_every log_freq log_interval log_frequency",
    "train.snapshots": "save_every checkpoint_every n_checkpoints n_snapshots",
    "eval.samples": "n_samples eval_samples test_samples n_eval",
}
"""By setting, the names that mean it and nothing else."""

REASONS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("sparsity", "s"), ("features.density", "density is 1 - sparsity")),
    "epochs": ("train.steps", "data are drawn afresh at every step, so there are steps and no epochs"),
    "n_epochs": ("train.steps", "data are drawn afresh at every step, so there are steps and no epochs"),
    **dict.fromkeys(
        ("n_instances", "n_inst", "instances", "n_models", "num_models", "n_seeds", "restarts", "n_restarts"),
        ("seed", "models of one kind differ in their seed: in [grid], seed = { range = [0, 8] }"),
    ),
    **dict.fromkeys(
        ("n_correlated_pairs", "correlated"),
        ("features.firing", 'pairs are groups: { kind = "correlated", groups = n / 2 }'),
    ),
    **dict.fromkeys(
        ("n_anticorrelated_pairs", "anticorrelated"),
        ("features.firing", 'pairs are groups: { kind = "anticorrelated", groups = n / 2 }'),
    ),
    **dict.fromkeys(
        ("hierarchy", "hierarchical", "mutually_exclusive_children"),
        ("features.firing", 'trees are { kind = "tree", children = 3, depth = 1, any_child = 0.8 }'),
    ),
    **dict.fromkeys(
        ("betas", "beta1", "beta2", "beta_1", "beta_2", "momentum"),
        ("train.optimizer", "its own numbers are set in the Python API: tm.Adam(beta_1=...), tm.SGD(momentum=...)"),
    ),
}
"""Names that want a word of explanation: the setting, and the word."""

OWN_NAMES = {other: setting for setting, others in OTHERS.items() for other in others.split()}
"""The setting of this project that each of the other names means."""


def meant(name: str, settings: Iterable[str]) -> tuple[str, str] | None:
    """The setting that a name with or without a section means, with an explanation or nothing; None of an unknown one.

    A setting's own name in another's section is that setting: ``train.hidden`` means ``model.hidden``.
    """
    leaf = name.rpartition(".")[2].strip().lower().replace("-", "_")
    if leaf in REASONS:
        return REASONS[leaf]
    if leaf in OWN_NAMES:
        return OWN_NAMES[leaf], ""
    own = [setting for setting in settings if setting.rpartition(".")[2] == leaf and setting != name]
    return (own[0], "") if len(own) == 1 else None
