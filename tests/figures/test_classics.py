"""The classic figures, of models written down by hand: what they draw is what the weights say."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from tests.figures.by_hand import RunByHand, neurons, phases, polygons, settings
from tests.figures.legible import assert_legible
from toymodels import figures
from toymodels.figures import gram, stacks, tms_phase
from toymodels.figures.colours import along, by_importance, hue
from toymodels.figures.drawing import in_our_style
from toymodels.sweeps.errors import FolderError


def drawn(name: str, run: RunByHand, dark: bool = False) -> Figure:
    figure = figures.figure_of(name, run, dark=dark)
    plt.close(figure)
    assert_legible(figure)
    return figure


def seen(figure: Figure) -> list[Axes]:
    return [axis for axis in figure.axes if axis.get_visible()]


def widths(axis: Axes) -> list[float]:
    """Of the bars in a panel."""
    return [bar.get_width() for bar in axis.patches if isinstance(bar, Rectangle)]


@pytest.mark.parametrize(
    "name, run", [("gram", polygons), ("tms_intro", polygons), ("tms_neurons", neurons), ("tms_phase", phases)]
)
def test_they_are_legible_on_a_dark_page(name, run):
    drawn(name, run(), dark=True)


# ------------------------------------------------------------------------------------------------------------- gram


def test_the_squares_of_gram_are_the_products_of_columns():
    run = polygons()
    images = [np.asarray(axis.images[0].get_array()) for axis in seen(drawn("gram", run)) if axis.images]
    for image, W in zip(images, run.weights, strict=True):
        np.testing.assert_allclose(image, (W.T @ W).numpy(), atol=1e-6)


def test_bars_of_gram_are_lengths_coloured_by_superposition():
    """Alone at density 1; a pair shares a dimension: (W_1/|W_1| . W_2)^2 = 1 for one of length 1, .81 of length .9."""
    lone, pairs, _ = [axis for axis in seen(drawn("gram", polygons())) if len(axis.patches) == 5]
    assert widths(lone) == pytest.approx([1, 1, 0, 0, 0])
    assert widths(pairs) == pytest.approx([1, 1, 0.9, 0.9, 0])
    with in_our_style():
        own, less, shared = along([0.0, 0.81, 1.0])
    assert to_rgb(lone.patches[0].get_facecolor()) == pytest.approx(own)
    assert to_rgb(pairs.patches[0].get_facecolor()) == pytest.approx(shared)
    assert to_rgb(pairs.patches[2].get_facecolor()) == pytest.approx(less)
    low, high = lone.get_ylim()
    assert low > high  # the first feature uppermost, as in the matrix beside


def test_gram_refuses_more_arms_than_it_has_room_for(monkeypatch):
    monkeypatch.setattr(gram, "MOST_ARMS", 2)
    with pytest.raises(FolderError, match=r"room for 2 arms .* here are 3 arms"):
        figures.figure_of("gram", polygons())


# ----------------------------------------------------------------------------------------------------------- stacks


def test_blocks_are_weights_the_largest_at_the_axis_and_negative_ones_below():
    figure, colours = Figure(), [(k / 4, 0.0, 0.0) for k in range(4)]
    W = np.array([[0.2, 0.5, -0.3, -0.4], [0.0, 0.0, 0.0, 1.0]])
    blocks = stacks.draw_stacks(figure.subplots(), W, colours)
    corners = [np.asarray(path.vertices) for path in blocks.get_paths()]
    ends = [(each[0, 1], each[2, 1]) for each in corners]
    assert ends == [(0.0, 0.5), (0.0, -0.4), (-0.4, pytest.approx(-0.7)), (0.5, pytest.approx(0.7)), (0.0, 1.0)]
    assert [tuple(face[:3]) for face in to_rgba_array(blocks.get_facecolor())] == [colours[k] for k in (1, 3, 2, 0, 3)]
    places = [each[:, 0].mean() for each in corners]
    assert [round(place) for place in places] == [1, 1, 1, 1, 2]


def test_neurons_are_ordered_by_main_feature_and_bold_where_monosemantic():
    first, second = seen(drawn("tms_neurons", neurons()))
    assert "1 of 3 monosemantic" in first.get_title()
    assert [text.get_fontweight() for text in first.get_xticklabels()] == ["normal", "bold", "normal"]
    (blocks,) = [each for each in second.collections if isinstance(each, PolyCollection)]
    with in_our_style():
        colours = by_importance(0.8 ** np.arange(5))
    faces = [tuple(face[:3]) for face in to_rgba_array(blocks.get_facecolor())]
    assert faces[0] == pytest.approx(colours[0])  # the neuron of feature 0 first
    assert min(np.asarray(path.vertices)[:, 1].min() for path in blocks.get_paths()) == pytest.approx(-0.9)


def test_linear_neurons_and_other_targets_are_refused_in_a_sentence():
    with pytest.raises(FolderError, match="up to 20 neurons that bend"):
        figures.figure_of("tms_neurons", polygons())
    with pytest.raises(FolderError, match=r"task\.target is 'absolute'"):
        figures.figure_of("tms_absolute", neurons())


def test_models_of_absolute_values_are_drawn_and_others_counted():
    run = neurons()
    run.models["task.target"] = ["absolute", "identity"]
    figure = drawn("tms_absolute", run)
    assert len(seen(figure)) == 1
    assert figure.get_suptitle() == "1 other models are left out"


# ------------------------------------------------------------------------------------------------------------ phases


def test_the_phase_diagram_has_the_candidates_colours_on_both_sides_and_the_gain():
    trained, fixed, gain, *_ = seen(drawn("tms_phase", phases()))
    maps = [next(each for each in axis.collections if isinstance(each, QuadMesh)) for axis in (trained, fixed, gain)]
    left, middle = (np.asarray(each.get_facecolor()).reshape(5, 5, -1)[..., :3] for each in maps[:2])
    np.testing.assert_allclose(left, middle, atol=1e-6)
    with in_our_style():
        np.testing.assert_allclose(left[0], [hue("vermillion")] * 5, atol=1e-6)  # the sparsest
        np.testing.assert_allclose(left[4, 4], hue("blue"), atol=1e-6)  # dense, and the second more important
        np.testing.assert_allclose(left[4, 0], (1, 1, 1), atol=1e-6)  # dense, and less important
    np.testing.assert_allclose(np.asarray(maps[2].get_array()), 0.1, atol=1e-6)


def test_the_line_is_where_candidates_cost_the_same():
    trained, *_ = seen(drawn("tms_phase", phases()))
    (line,) = trained.lines
    ratio, density = (np.asarray(each) for each in line.get_data())
    np.testing.assert_allclose(density, np.where(ratio <= 1, 4 * ratio / (2 + 5 * ratio), 4 / (5 + 2 * ratio)))
    low, high = trained.get_ylim()
    assert low > high  # sparse above, as published


def test_squares_meet_midway_on_a_logarithmic_axis():
    np.testing.assert_allclose(tms_phase._edges(np.array([0.01, 1.0])), [0.001, 0.1, 10])


def test_a_setting_without_a_model_is_left_out_of_the_map():
    run = phases()
    run.__dict__["models"] = run.models.drop(index=7)
    trained, *_ = seen(drawn("tms_phase", run))
    (squares,) = trained.collections
    assert np.ma.getmaskarray(np.ma.asarray(squares.get_array())).any(-1).sum() == 1


@pytest.mark.parametrize("setting, value", [("model.hidden", 2), ("features.n", 5)])
def test_of_other_models_no_candidate_is_worked_out(setting, value):
    run = phases()
    run.models[setting] = value
    with pytest.raises(FolderError, match=f"vary and nothing else: {setting}"):
        figures.figure_of("tms_phase", run)


def test_settings_by_hand_are_those_that_figures_ask_for():
    assert set(settings(0.1, 2, 5)) <= set(polygons().setting_columns)
