"""Downstream tasks: data sets in their official layouts, with what is to be predicted of each image."""

from sfumato.data.tasks.catalogue import TASKS, read_task
from sfumato.data.tasks.task import METRICS, VOC_METRICS, Objects, TaskData, TaskKind, TaskOptions

__all__ = [
    "METRICS",
    "TASKS",
    "VOC_METRICS",
    "Objects",
    "TaskData",
    "TaskKind",
    "TaskOptions",
    "read_task",
]
