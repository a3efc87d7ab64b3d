// The Python module adtool._C. Importing it loads the library, whose operators register themselves; its two attributes
// say what was compiled and what will run.
#include <Python.h>

#include "instruction_set.h"
#include "module.h"

PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  if (PyModule_AddStringConstant(module, "cpu", adtool::instruction_set_name()) < 0 ||
      PyModule_AddStringConstant(module, "cuda", adtool::cuda_architectures) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
