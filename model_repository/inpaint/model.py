from serving.steps.inpaint import TritonPythonModel
