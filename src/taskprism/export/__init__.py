"""Export: write a trained network as a file that other programs run.

:func:`export_onnx` writes an ONNX file, whose outputs have the names of the tasks, and compares it
with the network. :func:`export_torch` writes a program of ``torch.export``. :func:`quantize_onnx`
converts an ONNX file to 8-bit integers. :class:`~taskprism.export.runtime.OnnxPredictor` runs an
ONNX file without PyTorch. :func:`push_run` uploads a run to the Hugging Face hub, and
:func:`save_run` writes the same files into a folder.

Names are imported on first use, so that reading an ONNX file does not import PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
