"""Graphs of priors: names, files of edges, and the part of a graph that a model is placed on."""

import importlib.util
import itertools
import re
import sys

import numpy as np
import pytest

from configs import graphs
from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from configs.registry import STRUCTURES, Structure
from tests.helpers.works import refused

ONE = STRUCTURES["1-layer-nonlin"]
GRID = [(i, j) for i in range(36) for j in (i + 1, i + 6) if j < 36 and (j % 6 or j == i + 6)]
needs_hardware = pytest.mark.skipif(
    importlib.util.find_spec("dwave") is None, reason="requirements-annealing.txt is not installed"
)


def write(path, text):
    path.write_text(text)
    return path


def grid_file(folder):
    lines = [f"{j} {i}" for i, j in GRID]
    return write(folder / "grid.txt", "# six by six\n36\n" + "\n".join(lines) + "\n")


def test_named():
    assert graphs.complete(4) == tuple(itertools.combinations(range(4), 2))
    part = [0, 0, 0, 1, 1, 2, 2]
    expected = [(i, j) for i, j in itertools.combinations(range(7), 2) if part[i] != part[j]]
    assert list(graphs.partite(7, 3)) == expected
    assert len(graphs.partite(200, 4)) == 15_000 and len(graphs.complete(200)) == 19_900
    for name in ("independent", "complete", "partite:4", "rbm"):
        assert graphs.with_prior(ONE, name) == Structure(1, 200, 2, prior=name)


def test_part_of_a_graph(tmp_path):
    """The middle nine of six by six: no node with two edges into the part is left for later."""
    graph = graphs.read_edges(grid_file(tmp_path))
    assert graph.edges == tuple(sorted(GRID))
    assert graphs.part(graph, 36) == graph.edges
    edges = graphs.part(graph, 9)
    assert len(edges) == 12  # three by three
    assert {unit for edge in edges for unit in edge} == set(range(9))
    with pytest.raises(UserError, match="has 37 latent units and the graph 36 nodes"):
        graphs.part(graph, 37)
    colour = tuple((n // 6 + n % 6) % 2 for n in range(36))
    by_colour = graphs.part(graph._replace(colour=colour), 9)
    assert len(by_colour) == 12 and any(all(i < n <= j for i, j in by_colour) for n in (4, 5))


BAD = {
    "no number": ("0 1\n", "does not begin with a number of nodes"),
    "self-loop": ("3\n0 1\n1 1\n1 2\n", "line 3: '1 1' joins a node to itself"),
    "twice": ("3\n0 1\n1 2\n1 0\n", "line 4: '1 0' is that of line 2 again"),
    "unknown node": (
        "3\n0 1\n1 3\n",
        "line 3: '1 3' names a node that is not there: they are 0 to 2",
    ),
    "nan": ("3\n0 1\n1 nan\n", "line 3: '1 nan' is no edge"),
    "weight": ("3\n0 1 0.5\n", "line 2: '0 1 0.5' is no edge"),
    "disconnected": ("4\n0 1\n2 3\n", "is not connected: no way leads from node 0 to node 2"),
    "empty": ("", "is empty"),
    "too small": ("3\n0 1\n1 2\n", "has 200 latent units and the graph 3 nodes"),
}


@pytest.mark.parametrize(("text", "message"), BAD.values(), ids=BAD)
def test_bad_files(text, message, tmp_path):
    """One line each, before anything slow is imported."""
    with refused(re.escape(message)):
        graphs.with_prior(ONE, str(write(tmp_path / "bad.txt", text)))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("zephir:3", "is unknown; choose one of: rbm, independent"),
        ("partite", "must be partite:N, a whole number N"),
        ("partite:1", "needs 2 to 200 parts"),
        ("complete:3", "complete takes no number"),
        ("pegasus:x", "must be pegasus:N"),
        ("zephyr:17", "must have a size of 1 to 16"),
    ],
)
def test_bad_names(name, message):
    with refused(message):
        build_config(struct="1-layer-nonlin", prior=name)


def test_a_missing_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "dwave.graphs", None)
    graphs.hardware.cache_clear()
    with refused("pip install dwave-graphs networkx"):
        build_config(prior="zephyr:4")


def test_a_file_in_a_configuration(tmp_path):
    """Recorded by its name and content, so that two files of one name are two priors."""
    path = grid_file(tmp_path)
    structure = graphs.with_prior(Structure(1, 9, 1), str(path))
    assert graphs.from_text(structure.edges) == graphs.part(graphs.read_edges(path), 9)
    assert graphs.is_named(structure.prior, "elsewhere/grid.txt")
    assert not graphs.is_named(structure.prior, "grid.tx")
    other = graphs.with_prior(Structure(1, 10, 1), str(path))
    assert other.prior != structure.prior
    config = ExperimentConfig(structure=structure)
    assert config.run_directory("L").name == f"{structure.prior}_pa_beta30_seed0"
    record = config.to_json()
    assert record["structure"].get("edges") == structure.edges
    assert ExperimentConfig.from_json(record) == config


def test_a_record_without_a_prior_is_an_rbm():
    """What a run wrote before there were graphs is what an RBM's run writes."""
    record = build_config().to_json()
    assert "prior" not in record and "edges" not in record["structure"]
    assert record["structure"]["prior"] == "rbm"
    assert ExperimentConfig.from_json(record) == build_config() == build_config(prior="rbm")
    assert build_config().run_directory("L").name == "pa_beta30_seed0"
    assert build_config(prior="partite:4").run_directory("L").name == "partite4_pa_beta30_seed0"


@pytest.mark.parametrize("edges", ["0-1 0-1", "1-0", "0-400", "0-1-2", "a-b"])
def test_damaged_edges(edges):
    record = build_config(prior="complete").to_json()
    record["structure"] |= {"prior": "own-12345678", "edges": edges}
    with pytest.raises(UserError, match="edges of the prior own-12345678 are damaged"):
        ExperimentConfig.from_json(record)


@needs_hardware
@pytest.mark.parametrize(
    ("name", "size", "num_nodes", "num_edges"),
    [("zephyr", 3, 336, 1598), ("pegasus", 4, 264, 1260)],
)
def test_hardware(name, size, num_nodes, num_edges):
    """200 units on a connected part, numbered colour by colour of the known four."""
    graph = graphs.hardware(name, size)
    assert graph.num_nodes == num_nodes == 4 * graph.colour.count(0)
    assert all(graph.colour[i] != graph.colour[j] for i, j in graph.edges)
    edges = graphs.part(graph, 200)
    assert len(edges) == num_edges
    near = graphs.Graph(200, edges, ()).neighbours()
    assert len(graphs._distances(near, 0)) == 200
    firsts = [max((j for j in near[i] if j < i), default=-1) for i in range(200)]
    starts = [0]
    for unit in range(200):  # a new class wherever a unit has an edge into the present one
        if firsts[unit] >= starts[-1]:
            starts.append(unit)
    assert len(starts) <= 4
    assert np.array_equal(edges, graphs.part(graphs.hardware(name, size), 200))
