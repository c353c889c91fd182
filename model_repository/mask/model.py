from serving.steps.mask import TritonPythonModel
