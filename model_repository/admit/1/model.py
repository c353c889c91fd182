from serving.steps.admit import TritonPythonModel
