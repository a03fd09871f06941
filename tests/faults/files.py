"""Faults of what is done with files and names of others: links, pipes, sizes, code, damage."""

import os
from pathlib import Path

from tests.faults import cases, fault, text, within, wrapped
from tests.faults.common import nothing

EXPORTED = "test_nothing_is_exported_that_a_link_leads_to[samples.png]"
LINKS = cases("test_nothing_is_written_through_a_link")
NO_FILE = cases("test_what_is_no_file_is_refused_at_once")
NOT_READ = cases("test_a_file_that_does_not_fit_is_not_read")
NOT_BUILT = cases("test_a_model_whose_configuration_is_absurd_is_not_built")
FREE = cases("test_what_is_free_is_what_the_machine_and_each_group_leave")
OWN_CODE = cases("test_a_configuration_names_entries_of_our_tables_alone")
DAMAGED = cases("test_damaged_results_are_listed_and_the_rest_goes_on")
EVENTS = cases("test_events_that_do_not_parse_are_set_aside")

with fault("a file is written through a link in its place", LINKS("result.json", "report.md")):
    text(
        "files.replacing",
        "aside = «aside_of(path) → path»",
        "«os.O_EXCL | os.O_NOFOLLOW → os.O_TRUNC»",
    )
with fault("the name aside can be foreseen, and a link there is followed", LINKS("result.json")):
    wrapped("aside_of", lambda _, path: Path(f"{path.parent}/.{path.name}.{os.getpid()}"))
    text("files.replacing", "«os.O_EXCL | os.O_NOFOLLOW → os.O_TRUNC»")
with fault("metrics are appended through a link", LINKS("metrics.jsonl")):
    text("open_to_append", "«os.O_NOFOLLOW |  → »")
with fault("an export copies what a link leads to", EXPORTED):
    text("copy_file", "follow_links=«False → True»")
with fault("layers without an attribute have no place", "test_every_weight_has_a_place_of_its_own"):
    text("weights_file._parts", '_within("layers", «layers → []»)')
with fault("a pipe in the place of a file is waited for", NO_FILE("result.json", "images.npz")):
    text("open_to_read", "«os.O_NONBLOCK |  → »(")
with fault("an array is inflated whatever its size", NOT_READ("bytes", "grey values")):
    within("read_npz", "memory.require", nothing)
with fault("a model is built whatever its size", NOT_BUILT("hidden units", "layers")):
    within("TrainedModel.__init__", "memory.check_loading", nothing)
with fault("the limits of groups above are not seen", FREE("a group above")):
    text("_group_folders", "if «folder == top → True» or")
with fault("a name of another's is imported where it is none of ours", OWN_CODE("encoder")):
    text("_check_structure", "«name in known → True»")
    text(
        "build.build", "ENCODERS«[structure.encoder] → .get(structure.encoder, structure.encoder)»"
    )
with fault("a cell of a csv file may be a formula", "test_a_cell_of_a_spreadsheet_is_no_formula"):
    text("_csv_value", "if «_FORMULA.match(text) → 0» else text")
with fault("Markdown takes names for markup", "test_markdown_shows_names_as_they_are"):
    wrapped("text.markdown", lambda _, text: text)
with fault("a shell runs what stands in a name", "test_commands_survive_a_shell"):
    within("commands_for", "shlex.join", lambda _, words: " ".join(words))
with fault("names command the terminal", "test_console_lines_command_no_terminal"):
    wrapped("text.printable", lambda _, text: text)
with fault("one result that cannot be read ends the report", DAMAGED("config.json", "result.json")):
    text("read_tree", "«problems.append(one_line(error)) → raise»")
with fault("events behind the damage of a file are lost without a word", EVENTS("noise", "text")):
    text("_rewrite_events", 'if «"truncated record" not in str(error) → False»')
