"""Faults of what is done with files of others: links, pipes, names, sizes, code."""

from tests.faults import change, fault

FILES = "configs/test_files.py"
MEMORY = "configs/test_memory.py"
CODE = "runs/test_foreign_code.py"
ODD = "tables/test_odd_files.py"


def _all(*changes):
    """Several changes that are one fault."""

    def inject(patch):
        for one in changes:
            one(patch)

    return inject


FAULTS = (
    fault(
        "a file is written through the link that lies in its place",
        change(
            "configs.files:replacing",
            *("aside = aside_of(path)", "aside = path"),
            *("os.O_EXCL | os.O_NOFOLLOW", "os.O_TRUNC"),
        ),
        f"{FILES}::test_nothing_is_written_through_a_link[result.json]",
        f"{FILES}::test_nothing_is_written_through_a_link[report.md]",
    ),
    fault(
        "the name aside can be foreseen, and a link there is followed",
        _all(
            change(
                "configs.files:aside_of",
                'f".tmp-{secrets.token_hex(8)}"',
                'f".{path.name}.{os.getpid()}"',
            ),
            change("configs.files:replacing", "os.O_EXCL | os.O_NOFOLLOW", "os.O_TRUNC"),
        ),
        f"{FILES}::test_nothing_is_written_through_a_link[result.json]",
    ),
    fault(
        "metrics are appended through a link",
        change("configs.files:open_to_append", "os.O_NOFOLLOW | ", ""),
        f"{FILES}::test_nothing_is_written_through_a_link[metrics.jsonl]",
    ),
    fault(
        "an export copies what a link leads to",
        change("dvae.runs.export:copy_file", "follow_links=False", "follow_links=True"),
        "runs/test_export.py::test_nothing_is_exported_that_a_link_leads_to[samples.png]",
    ),
    fault(
        "a pipe in the place of a file is waited for",
        change("configs.files:open_to_read", "flags = os.O_NONBLOCK | (", "flags = ("),
        f"{FILES}::test_what_is_no_file_is_refused_at_once[result.json]",
        f"{FILES}::test_what_is_no_file_is_refused_at_once[images.npz]",
    ),
    fault(
        "an array is inflated before its size is held against what is free",
        change(
            "data.npz:read_npz",
            'memory.require(_bytes_needed(archive, members), f"{one_line(path)}: it", remedy)',
            "pass",
        ),
        f"{MEMORY}::test_a_file_that_does_not_fit_is_not_read[bytes]",
        f"{MEMORY}::test_a_file_that_does_not_fit_is_not_read[grey values]",
    ),
    fault(
        "a model is built whatever its configuration says of its size",
        change(
            "dvae.runs.trained_model:TrainedModel.__init__",
            "memory.check_loading(self.config, self.path)",
            "pass",
        ),
        f"{MEMORY}::test_a_model_whose_configuration_is_absurd_is_not_built[hidden units]",
        f"{MEMORY}::test_a_model_whose_configuration_is_absurd_is_not_built[layers]",
    ),
    fault(
        "the limits of groups above are not seen",
        change("configs.memory:_group_folders", "if folder == top or", "if True or"),
        f"{MEMORY}::test_what_is_free_is_what_the_machine_and_each_group_leave[a group above]",
    ),
    fault(
        "a name of another's is looked up and, where it is none of ours, imported",
        _all(
            change("configs.paper:_check_structure", "name in known", "True"),
            change(
                "dvae.model:DVAE.__init__",
                "ENCODERS[structure.encoder]",
                "ENCODERS.get(structure.encoder, structure.encoder)",
            ),
        ),
        f"{CODE}::test_a_configuration_names_entries_of_our_tables_alone[encoder]",
    ),
    fault(
        "a cell of a csv file may be a formula",
        change(
            "tables.documents:_csv_value", "if _FORMULA.match(text) else text", "if 0 else text"
        ),
        f"{ODD}::test_a_cell_of_a_spreadsheet_is_no_formula",
    ),
    fault(
        "Markdown takes names for markup",
        change("configs.text:markdown", "_ENTITIES.get(found[0], ", "(lambda _: found[0])("),
        f"{ODD}::test_markdown_shows_names_as_they_are",
    ),
    fault(
        "a shell runs what stands in a name",
        change("tables.protocol:commands_for", "shlex.join(", '" ".join('),
        f"{ODD}::test_commands_survive_a_shell",
    ),
    fault(
        "names command the terminal",
        change("configs.text:printable", "if text.isprintable()", "if True"),
        f"{FILES}::test_console_lines_command_no_terminal",
    ),
    fault(
        "one result that cannot be read ends the report",
        change("tables.results:read_tree", "problems.append(one_line(error))", "raise"),
        f"{ODD}::test_damaged_results_are_listed_and_the_rest_goes_on[config.json]",
        f"{ODD}::test_damaged_results_are_listed_and_the_rest_goes_on[result.json]",
    ),
)
