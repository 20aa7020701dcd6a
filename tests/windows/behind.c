/* ecr-py.exe for test_front.py: says what it was given, and ends with the code in BEHIND_CODE. */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <wchar.h>
#include <windows.h>

int wmain(int count, wchar_t **arguments)
{
    const wchar_t *code = _wgetenv(L"BEHIND_CODE");
    char text[32768];
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
    for (int n = 1; n < count; n++) {
        WideCharToMultiByte(CP_UTF8, 0, arguments[n], -1, text, sizeof text, NULL, NULL);
        printf("<%s>", text);
    }
    printf("%s\n", _wgetenv(L"PYTHONPATH") == NULL ? "" : " with PYTHONPATH");
    for (size_t length; (length = fread(text, 1, sizeof text, stdin)) > 0;)
        fwrite(text, 1, length, stdout);
    fflush(stdout);
    if (code != NULL && wcscmp(code, L"hang") == 0)
        Sleep(INFINITE);
    return code == NULL ? 0 : _wtoi(code);
}
