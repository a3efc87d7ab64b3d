// The Python module adtool._C. Importing it loads the library, whose operators register themselves; its two attributes
// say what was compiled and what will run.
#include <Python.h>

#include "instruction_set.h"

#ifndef ADTOOL_CUDA
#define ADTOOL_CUDA ""
#endif

PyMODINIT_FUNC PyInit__C() {
  static PyModuleDef definition = {
      PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr, nullptr, nullptr, nullptr, nullptr};
  PyObject* module = PyModule_Create(&definition);
  if (module == nullptr) return nullptr;
  if (PyModule_AddStringConstant(module, "cpu", adtool::instruction_set_name()) < 0 ||
      PyModule_AddStringConstant(module, "cuda", ADTOOL_CUDA) < 0) {
    Py_DECREF(module);
    return nullptr;
  }
  return module;
}
