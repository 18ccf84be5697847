"""Teachers: trained networks that label images, so that others can learn from the labels.

:func:`create_teacher` loads a trained run, a saved model, an ONNX file or a model of the
``transformers`` library; a kind of your own is a subclass of :class:`Teacher` with the decorator
:func:`register_teacher`. Its :meth:`~Teacher.label` gives a :class:`Label` per task: values in real
units at the size of the image, and a confidence. :func:`distill` writes the labels of many images
in the folder format, with a data YAML to train from. ``taskprism distill`` does the same from the
command line.
"""

from taskprism.teachers.base import TEACHERS, Label, Teacher, create_teacher, register_teacher
from taskprism.teachers.distill import distill
from taskprism.teachers.plan import TeacherSource

__all__ = [
    "TEACHERS",
    "Label",
    "Teacher",
    "TeacherSource",
    "create_teacher",
    "distill",
    "register_teacher",
]
