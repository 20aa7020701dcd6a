/* What front.c does on Windows in its own way. It is included at the end of front.c.

   Text is UTF-8, as it is in Python's records, and becomes UTF-16 where Windows is called. */

#include <stdint.h>

/* Hundreds of nanoseconds since 1601, of 1970. */
#define EPOCH 116444736000000000

enum { WIDE_PATH = 32768 };

static struct timespec time_of(FILETIME given)
{
    long long ticks = (long long)((uint64_t)given.dwHighDateTime << 32 | given.dwLowDateTime);
    long long since = ticks - EPOCH, rest = (since % 10000000 + 10000000) % 10000000;
    return (struct timespec){.tv_sec = (since - rest) / 10000000, .tv_nsec = (long)rest * 100};
}

#ifndef FRONT_TEST
static struct timespec now(void)
{
    FILETIME time;
    GetSystemTimePreciseAsFileTime(&time);
    return time_of(time);
}
#endif

/* A path as Windows takes it however long it is; NULL unless it leads to a drive: a share may
   hang, and a device is not a file. */
static const wchar_t *wide(const char *path)
{
    static wchar_t given[PATH], whole[WIDE_PATH] = L"\\\\?\\";
    enum { ROOM = WIDE_PATH - 4 };
    if (MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, given, PATH) == 0)
        return NULL;
    DWORD length = GetFullPathNameW(given, ROOM, whole + 4, NULL);
    return length > 0 && length < ROOM && whole[5] == L':' ? whole : NULL;
}

/* ---- store/record.py ---- */

static bool cache_root(char root[PATH])
{
    const char *local = value_of("LOCALAPPDATA");
    return *local != '\0' && starts_with(local + 1, ":\\") &&
           format(root, PATH, "%s%s", local, FOLDER_ON_WINDOWS);
}

static bool is_private_folder(const char *path)
{
    const wchar_t *place = wide(path);
    if (place == NULL)
        return false;
    DWORD found = GetFileAttributesW(place), wanted = FILE_ATTRIBUTE_DIRECTORY;
    return found != INVALID_FILE_ATTRIBUTES &&
           (found & (wanted | FILE_ATTRIBUTE_REPARSE_POINT)) == wanted &&
           GetDriveTypeW((wchar_t[]){place[4], L':', L'\\', L'\0'}) != DRIVE_REMOTE;
}

/* The facts that os.stat shows of what is at a path; INVALID_HANDLE_VALUE if there is nothing. */
static HANDLE open_file(const char *path, DWORD access, DWORD flags,
                        BY_HANDLE_FILE_INFORMATION *found)
{
    const wchar_t *place = wide(path);
    SetLastError(ERROR_INVALID_NAME);
    if (place == NULL)
        return INVALID_HANDLE_VALUE;
    /* All sharing is allowed: Python may replace the file meanwhile. */
    DWORD shared = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
    HANDLE file = CreateFileW(place, access, shared, NULL, OPEN_EXISTING, flags, NULL);
    if (file == INVALID_HANDLE_VALUE ||
        (GetFileType(file) == FILE_TYPE_DISK && GetFileInformationByHandle(file, found)))
        return file;
    CloseHandle(file);
    SetLastError(ERROR_INVALID_NAME);
    return INVALID_HANDLE_VALUE;
}

static bool facts_of(const char *path, BY_HANDLE_FILE_INFORMATION *found)
{
    HANDLE file = open_file(path, FILE_READ_ATTRIBUTES, FILE_FLAG_BACKUP_SEMANTICS, found);
    return file != INVALID_HANDLE_VALUE && CloseHandle(file);
}

/* False for what cannot be opened for another reason than that it is not there. */
static bool stamp(const char *path, char seen[80])
{
    BY_HANDLE_FILE_INFORMATION found;
    if (!facts_of(path, &found)) {
        DWORD reason = GetLastError();
        return (reason == ERROR_FILE_NOT_FOUND || reason == ERROR_PATH_NOT_FOUND) &&
               format(seen, 80, "%s", ABSENT);
    }
    struct timespec last = time_of(found.ftLastWriteTime);
    uint64_t size = (uint64_t)found.nFileSizeHigh << 32 | found.nFileSizeLow;
    uint64_t number = (uint64_t)found.nFileIndexHigh << 32 | found.nFileIndexLow;
    return last.tv_sec < 9000000000 &&
           format(seen, 80, "%lld.%llu.%llu", last.tv_sec * 1000000000LL + last.tv_nsec,
                  (unsigned long long)size, (unsigned long long)number);
}

static size_t read_private(const char *path, char *data, size_t room)
{
    BY_HANDLE_FILE_INFORMATION found;
    HANDLE file = open_file(path, GENERIC_READ, FILE_FLAG_OPEN_REPARSE_POINT, &found);
    if (file == INVALID_HANDLE_VALUE)
        return 0;
    DWORD length = 0, odd = FILE_ATTRIBUTE_DIRECTORY | FILE_ATTRIBUTE_REPARSE_POINT;
    if ((found.dwFileAttributes & odd) != 0 || !ReadFile(file, data, (DWORD)room, &length, NULL))
        length = 0;
    CloseHandle(file);
    return length;
}

static bool last_change(const char *path, struct timespec *time)
{
    BY_HANDLE_FILE_INFORMATION found;
    if (!facts_of(path, &found))
        return false;
    *time = time_of(found.ftLastWriteTime);
    return true;
}

/* ---- store/daemon_client.py: on Windows there is no daemon ---- */

static outcome ask_tunnel(const char *request, char answer[LARGEST_RECORD + 1])
{
    (void)request;
    (void)answer;
    return NOTHING; /* sshd of Windows forwards no Unix sockets */
}

static size_t ask(const char *request, char answer[LARGEST_RECORD + 1])
{
    (void)request;
    answer[0] = '\0';
    return 0;
}

/* ---- helper.py ---- */

#ifndef FRONT_TEST

enum { ENVIRONMENT = 256 * 1024, MOST_VARIABLES = 4096 };

/* As os.environ: names in capitals. False if it does not fit, or is not Unicode. */
static bool read_environment(void)
{
    static char text[ENVIRONMENT], *found[MOST_VARIABLES + 1];
    const wchar_t *each = GetEnvironmentStringsW();
    char *to = text;
    for (size_t n = 0; *each != L'\0'; each += wcslen(each) + 1) {
        int room = (int)(text + sizeof text - to);
        int length =
            WideCharToMultiByte(CP_UTF8, WC_ERR_INVALID_CHARS, each, -1, to, room, NULL, NULL);
        if (length == 0 || n == MOST_VARIABLES)
            return false;
        found[n++] = to;
        for (char *name = to; *name != '\0' && *name != '='; name++)
            *name = (char)('a' <= *name && *name <= 'z' ? *name - 'a' + 'A' : *name);
        to += length;
    }
    environ = found;
    return true;
}

/* The command line behind the name of the program, as the system passes it on. */
static const wchar_t *command_line_tail(void)
{
    const wchar_t *at = GetCommandLineW();
    for (bool quoted = false; *at != L'\0' && (quoted || (*at != L' ' && *at != L'\t')); at++)
        quoted ^= *at == L'"';
    return at;
}

/* Arguments with quotes, or not in ASCII, are not the same for every program that reads them. */
static bool prepare(void)
{
    for (int descriptor = 0; descriptor <= 2; descriptor++)
        _setmode(descriptor, _O_BINARY);
    for (const wchar_t *at = command_line_tail(); *at != L'\0'; at++)
        if (*at >= 0x80 || (*at != L' ' && strchr(URL_CHARACTERS, (char)*at) == NULL))
            return false;
    return read_environment();
}

/* The folder of this program, in which links are followed only if `real`. */
static bool own_folder(wchar_t folder[WIDE_PATH], bool real)
{
    DWORD length = GetModuleFileNameW(NULL, folder, WIDE_PATH);
    if (length > 0 && length < WIDE_PATH && real) {
        HANDLE file = CreateFileW(folder, 0, FILE_SHARE_READ, NULL, OPEN_EXISTING, 0, NULL);
        length = GetFinalPathNameByHandleW(file, folder, WIDE_PATH, 0);
        CloseHandle(file);
    }
    if (length == 0 || length >= WIDE_PATH)
        return false;
    wcsrchr(folder, L'\\')[1] = L'\0';
    return true;
}

/* Standard input as it was: what was read of it, in a pipe, which has room for that. */
static HANDLE restored_input(const char *given, size_t length)
{
    SECURITY_ATTRIBUTES passed_on = {.nLength = sizeof passed_on, .bInheritHandle = TRUE};
    HANDLE from, to;
    DWORD written;
    if (length == 0 || !CreatePipe(&from, &to, &passed_on, LONGEST_INPUT))
        return GetStdHandle(STD_INPUT_HANDLE);
    SetHandleInformation(to, HANDLE_FLAG_INHERIT, 0);
    WriteFile(to, given, (DWORD)length, &written, NULL);
    CloseHandle(to);
    return from;
}

/* Ctrl-C reaches the Python program, too: its exit code is waited for. */
static BOOL WINAPI leave_to_python(DWORD event)
{
    return event == CTRL_C_EVENT || event == CTRL_BREAK_EVENT;
}

/* If this program is killed, so is the Python program; but not what that starts, a renewal. */
static void end_with_us(HANDLE process)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {
        .BasicLimitInformation.LimitFlags =
            JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK};
    HANDLE job = CreateJobObjectW(NULL, NULL);
    SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    AssignProcessToJobObject(job, process);
}

/* A Python that starts in a project must not run the project's modules: -I cannot be asked for. */
static void isolate(void)
{
    for (const wchar_t *each = GetEnvironmentStringsW(); *each; each += wcslen(each) + 1) {
        static wchar_t name[WIDE_PATH];
        size_t length = wcscspn(each, L"=");
        if (_wcsnicmp(each, L"PYTHON", 6) != 0 || length >= WIDE_PATH)
            continue;
        wmemcpy(name, each, length);
        name[length] = L'\0';
        SetEnvironmentVariableW(name, NULL);
    }
}

/* Runs `ecr-py.exe docker-credential` and the same arguments. Every installer puts that program
   beside this one, and writes into it where its Python is. */
static _Noreturn void become_python(char **arguments, const char *given, size_t length)
{
    static wchar_t folder[WIDE_PATH], program[WIDE_PATH + 16], command[2 * WIDE_PATH + 64];
    static char name[PATH], reason[32];
    bool is_there = false;
    for (int real = 0; real <= 1 && !is_there; real++)
        is_there = own_folder(folder, real) &&
                   swprintf(program, WIDE_PATH + 16, L"%lsecr-py.exe", folder) > 0 &&
                   GetFileAttributesW(program) != INVALID_FILE_ATTRIBUTES;
    if (!is_there) {
        GetModuleFileNameW(NULL, folder, WIDE_PATH);
        WideCharToMultiByte(CP_UTF8, 0, folder, -1, name, sizeof name, NULL, NULL);
        report_missing("the command ecr-py", name);
    }
    swprintf(command, 2 * WIDE_PATH + 64, L"\"%ls\" docker-credential%ls", program,
             command_line_tail());
    isolate();
    SetConsoleCtrlHandler(leave_to_python, TRUE);
    STARTUPINFOW how = {.cb = sizeof how,
                        .dwFlags = STARTF_USESTDHANDLES,
                        .hStdInput = restored_input(given, length),
                        .hStdOutput = GetStdHandle(STD_OUTPUT_HANDLE),
                        .hStdError = GetStdHandle(STD_ERROR_HANDLE)};
    PROCESS_INFORMATION python;
    DWORD code;
    if (CreateProcessW(program, command, NULL, NULL, TRUE, CREATE_SUSPENDED, NULL, NULL, &how,
                       &python)) {
        end_with_us(python.hProcess);
        ResumeThread(python.hThread);
        WaitForSingleObject(python.hProcess, INFINITE);
        if (GetExitCodeProcess(python.hProcess, &code))
            ExitProcess(code);
    }
    (void)arguments;
    FORMAT(reason, "Windows error %lu", GetLastError());
    WideCharToMultiByte(CP_UTF8, 0, program, -1, name, sizeof name, NULL, NULL);
    report_not_started(name, reason);
}
#endif
