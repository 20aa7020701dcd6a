/* python.exe: runs the Python of the DLL that is compiled in as PYTHON_DLL, beside this file. */
#include <windows.h>

int wmain(int argc, wchar_t **argv)
{
    wchar_t dll[32768];
    DWORD length = GetModuleFileNameW(NULL, dll, 32768 - 32);
    while (length && dll[length - 1] != L'\\')
        length--;
    lstrcpyW(dll + length, PYTHON_DLL);
    HMODULE python = LoadLibraryExW(dll, NULL, LOAD_WITH_ALTERED_SEARCH_PATH);
    int (*run)(int, wchar_t **) = python ? (void *)GetProcAddress(python, "Py_Main") : NULL;
    return run ? run(argc, argv) : 125;
}
