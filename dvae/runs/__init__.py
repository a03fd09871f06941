"""The life of a run: what surrounds the method and decides none of its numbers."""

from configs.errors import check_system

check_system()
