from serving.steps.parse import TritonPythonModel
