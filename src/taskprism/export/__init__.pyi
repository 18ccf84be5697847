from .int8 import quantize_onnx as quantize_onnx
from .metadata import display_of as display_of
from .network import TaskNetwork as TaskNetwork
from .onnx_file import ExportReport as ExportReport
from .onnx_file import export_onnx as export_onnx
from .onnx_model import OnnxModel as OnnxModel
from .runtime import OnnxPredictor as OnnxPredictor
from .torch_file import export_torch as export_torch
