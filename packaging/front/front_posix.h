/* What front.c does on Linux and macOS in their own way. It is included at the end of front.c. */

#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>

#ifdef __APPLE__
#include <mach-o/dyld.h>
#define st_mtim st_mtimespec
#define USUAL_CACHE CACHE_ON_MACOS
#undef MSG_NOSIGNAL /* of a newer macOS: SO_NOSIGPIPE does it on all */
#define MSG_NOSIGNAL 0
#else
#include <sys/auxv.h>
#define USUAL_CACHE CACHE_ON_LINUX
#endif

enum { MOST_WORDS = 64 };

#ifndef FRONT_TEST
static struct timespec now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time;
}
#endif

/* ---- store/record.py ---- */

/* record._private */
static bool is_private(const struct stat *found, mode_t file_type)
{
    return (found->st_mode & S_IFMT) == file_type && found->st_uid == geteuid() &&
           (found->st_mode & 077) == 0;
}

static bool is_private_folder(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && is_private(&found, S_IFDIR);
}

static bool cache_root(char root[PATH])
{
    const char *cache = value_of("XDG_CACHE_HOME"), *home = value_of("HOME");
    bool fits = *cache != '\0' ? format(root, PATH, "%s%s", cache, FOLDER)
                               : format(root, PATH, "%s%s%s", home, USUAL_CACHE, FOLDER);
    return fits && root[0] == '/' && (*cache != '\0' || *home != '\0');
}

/* record.runtime_folder; false if there is none */
static bool runtime_folder(char folder[PATH])
{
    static char usual[PATH];
    const char *root = value_of("XDG_RUNTIME_DIR");
    if (*root == '\0' && FORMAT(usual, "%s%lu", RUNTIME, (unsigned long)geteuid()) &&
        is_private_folder(usual))
        root = usual;
    return *root == '/' ? format(folder, PATH, "%s%s", root, FOLDER) : cache_root(folder);
}

/* False for a time that takes more than 64 bits. */
static bool stamp(const char *path, char seen[80])
{
    struct stat found;
    if (stat(path, &found) != 0)
        return format(seen, 80, "%s", ABSENT);
    long long seconds = found.st_mtim.tv_sec;
    return -9000000000 < seconds && seconds < 9000000000 &&
           format(seen, 80, "%lld.%lld.%llu", seconds * 1000000000 + found.st_mtim.tv_nsec,
                  (long long)found.st_size, (unsigned long long)found.st_ino);
}

/* NONBLOCK: a FIFO in the place of a record must not make us wait. */
static size_t read_private(const char *path, char *data, size_t room)
{
    int file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return 0;
    struct stat found;
    ssize_t length = 0;
    if (fstat(file, &found) == 0 && is_private(&found, S_IFREG))
        length = read(file, data, room);
    close(file);
    return length > 0 ? (size_t)length : 0;
}

static bool last_change(const char *path, struct timespec *time)
{
    struct stat found;
    if (stat(path, &found) != 0)
        return false;
    *time = found.st_mtim;
    return true;
}

/* ---- store/daemon_client.py ---- */

static long long milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* daemon_client.peer: the user at the other end, and the PID or 0 if it is not known */
static bool peer(int connection, uid_t *user, int *process)
{
    *process = 0;
#ifdef __linux__
    struct ucred found;
    socklen_t length = sizeof found;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &found, &length) != 0)
        return false;
    *process = found.pid;
    *user = found.uid;
    return length == sizeof found;
#else
    gid_t group;
    return getpeereid(connection, user, &group) == 0;
#endif
}

/* A connection for which there are so many milliseconds, and its peer; -1 if there is none. On
   Linux, that includes the wait for room in the queue. */
static int connected(const char *path, int limit, uid_t *user, int *process)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval most = {.tv_usec = limit * 1000};
    if (!FORMAT(address.sun_path, "%s", path))
        return -1;
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
#ifdef SO_NOSIGPIPE /* macOS */
    setsockopt(connection, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
    if (connection >= 0 && fcntl(connection, F_SETFD, FD_CLOEXEC) == 0 &&
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof most) == 0 &&
        connect(connection, (struct sockaddr *)&address, sizeof address) == 0 &&
        peer(connection, user, process))
        return connection;
    close(connection);
    return -1;
}

/* daemon_client.connect; -1 if there is no daemon of ours */
static int connect_to_daemon(int *process)
{
    static char folder[PATH], path[PATH];
    struct stat found;
    uid_t user;
    if (!runtime_folder(folder) || !FORMAT(path, "%s%s", folder, SOCKET) ||
        stat(path, &found) != 0 || !is_private_folder(folder))
        return -1;
    int connection = connected(path, FIRST_LOOK, &user, process);
    if (connection < 0 || user == geteuid())
        return connection;
    close(connection);
    return -1;
}

/* daemon_client._turn_of: whether a process is ready to run, and the processor time it has had */
static bool is_ready(int process, long long *ticks)
{
    char path[40], line[1024];
    int file = FORMAT(path, "/proc/%d/stat", process) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t length = file < 0 ? 0 : read(file, line, sizeof line - 1);
    close(file);
    line[length > 0 ? length : 0] = '\0';
    const char *after_name = strrchr(line, ')');
    long long user, kernel;
    char state;
    if (after_name == NULL ||
        sscanf(after_name + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lld %lld", &state,
               &user, &kernel) != 3)
        return false;
    *ticks = user + kernel;
    return state == 'R';
}

/* daemon_client._receive, but it takes less until Python is asked: whether there is more to read.
   While the daemon waits for a processor it is waited for: to start Python would make that worse. */
static bool arrives(int connection, int process, long long start)
{
    struct pollfd wanted = {connection, POLLIN, 0};
    long long first = -1, ticks = 0, left = start + FIRST_LOOK - milliseconds();
    for (int pause = left > 0 ? (int)left : 0;; pause = LOOK_EVERY) {
        int ready = poll(&wanted, 1, pause);
        if (ready != 0)
            return ready > 0;
        bool waits = is_ready(process, &ticks);
        first = first < 0 ? ticks : first;
        if (!waits || ticks - first >= ENOUGH_TICKS || milliseconds() - start >= BUSY_LIMIT)
            return poll(&wanted, 1, 0) > 0; /* it may be this process that had to wait */
    }
}

static size_t ask(const char *request, char answer[LARGEST_RECORD + 1])
{
    int process;
    size_t used = 0;
    long long start = milliseconds();
    int connection = connect_to_daemon(&process);
    if (connection < 0)
        return 0;
    ssize_t sent = send(connection, request, strlen(request), MSG_NOSIGNAL);
    shutdown(connection, SHUT_WR);
    while (sent == (ssize_t)strlen(request) && used < LARGEST_RECORD &&
           arrives(connection, process, start)) {
        ssize_t more = recv(connection, answer + used, LARGEST_RECORD - used, 0);
        used = more < 0 ? 0 : used + (size_t)more;
        if (more <= 0 || answer[used - 1] == '\n')
            break;
    }
    close(connection);
    answer[used] = '\0';
    return used;
}

/* ---- store/tunnel_client.py ---- */

/* record.tunnel_path; false if there is none */
static bool tunnel_path(char path[PATH])
{
    static char folder[PATH];
    const char *named = variable("ECR_PY_FORWARD");
    if (named != NULL)
        return *named == '/' && format(path, PATH, "%s", named);
    return runtime_folder(folder) && format(path, PATH, "%s%s", folder, TUNNEL);
}

/* tunnel_client.is_trusted */
static bool is_trusted(uid_t user)
{
    char number[24];
    return user == 0 || user == geteuid() ||
           (FORMAT(number, "%lu", (unsigned long)user) &&
            equal(value_of("ECR_PY_FORWARD_UID"), number));
}

/* tunnel_client.connect; -1 if there is none, or another user may have put it there */
static int connect_to_tunnel(const char *path)
{
    static char folder[PATH];
    struct stat found;
    uid_t user;
    int process;
    FORMAT(folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    if (stat(*folder != '\0' ? folder : "/", &found) != 0 || !is_trusted(found.st_uid) ||
        (found.st_mode & 022) != 0)
        return -1;
    int connection = connected(path, TUNNEL_LIMIT, &user, &process);
    if (connection < 0 || is_trusted(user))
        return connection;
    close(connection);
    return -1;
}

static outcome ask_tunnel(const char *request, char answer[LARGEST_RECORD + 1])
{
    static char path[PATH];
    struct stat found;
    size_t used = 0;
    if (!tunnel_path(path) || stat(path, &found) != 0)
        return NOTHING;
    if (variable("ECR_PY_FORWARD_WAIT") != NULL)
        return UNUSUAL;
    long long end = milliseconds() + TUNNEL_LIMIT;
    struct pollfd wanted = {connect_to_tunnel(path), POLLIN, 0};
    bool is_sent = wanted.fd >= 0 && send(wanted.fd, request, strlen(request), MSG_NOSIGNAL) ==
                                         (ssize_t)strlen(request);
    while (is_sent && used < LARGEST_LINE && (used == 0 || answer[used - 1] != '\n')) {
        long long left = end - milliseconds();
        if (poll(&wanted, 1, left > 0 ? (int)left : 0) <= 0) {
            setenv(TUNNEL_IS_GONE, "1", 1); /* Python need not wait again */
            break;
        }
        ssize_t more = recv(wanted.fd, answer + used, LARGEST_LINE - used, 0);
        if (more <= 0)
            break;
        used += (size_t)more;
    }
    close(wanted.fd);
    answer[used] = '\0';
    return used > 0 && answer[used - 1] == '\n' && strlen(answer) == used ? ANSWER : NOTHING;
}

/* ---- helper.py ---- */

#ifndef FRONT_TEST

static bool prepare(void)
{
    return true;
}

/* This program's own path, without links: PATH is not searched. */
static void own_path(char path[PATH_MAX])
{
#ifdef __APPLE__
    char called[PATH_MAX];
    uint32_t size = sizeof called;
    if (_NSGetExecutablePath(called, &size) == 0 && realpath(called, path) != NULL)
        return;
#else
    ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
    path[length > 0 ? length : 0] = '\0';
    const char *called = (const char *)getauxval(AT_EXECFN); /* without /proc */
    if (length > 0 || (called != NULL && realpath(called, path) != NULL))
        return;
#endif
    report_missing("its own file", "this program");
}

/* The interpreter that the installer chose, with its options, from the head of `ecr-py`, as the
   launcher finds it. The number of words; 0 if there is none. */
static size_t find_interpreter(const char *folder, char *words[MOST_WORDS])
{
    static char path[PATH], head[PATH], resolved[PATH_MAX];
    int file = FORMAT(path, "%s/ecr-py", folder) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t length = file < 0 ? 0 : read(file, head, sizeof head - 1);
    close(file);
    head[length > 0 ? length : 0] = '\0';
    char *rest = head, *first = strsep(&rest, "\n"), *second = strsep(&rest, "\n"), *last = NULL;
    size_t count = 0;
    if (second == NULL || !starts_with(first, "#!"))
        return 0;
    if (!equal(first, "#!/bin/sh")) {
        for (first += 2; first != NULL && count < MOST_WORDS / 2;)
            if (*(words[count] = strsep(&first, " \t")) != '\0')
                count++;
        return count;
    }
    /* The path is long or has spaces: a line of the shell's executes it. */
    if (strstr(second, "$(dirname") != NULL) { /* a venv that may be moved: beside ecr-py itself */
        words[0] = realpath(path, resolved);
        if (words[0] != NULL)
            strcpy(strrchr(resolved, '/'), "/python"); /* as long as "/ecr-py" */
        return words[0] != NULL;
    }
    words[0] = strstr(second, "exec' ");
    for (rest = words[0]; rest != NULL && (rest = strstr(rest, " \"$0\" ")) != NULL; rest++)
        last = rest;
    if (last == NULL)
        return 0;
    words[0] += strlen("exec' ");
    words[0] += *words[0] == '"' || *words[0] == '\'';
    last -= last > words[0] && (last[-1] == '"' || last[-1] == '\'');
    *last = '\0';
    return last > words[0];
}

/* Standard input as it was: what was read of it, in a pipe, which has room for that. */
static bool restore_input(const char *given, size_t length)
{
    int ends[2];
    if (length == 0)
        return true;
    if (pipe(ends) != 0 || fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0 ||
        write(ends[1], given, length) != (ssize_t)length || dup2(ends[0], STDIN_FILENO) < 0)
        return false;
    close(ends[0]);
    close(ends[1]);
    return true;
}

/* Runs the launcher's Python half, isolated as the launcher does it. */
static _Noreturn void become_python(char **arguments, const char *given, size_t length)
{
    static char self[PATH_MAX], folder[PATH_MAX], launcher[PATH];
    static char *words[MOST_WORDS];
    own_path(self);
    FORMAT(folder, "%.*s", (int)(strrchr(self, '/') - self), self);
    size_t count = find_interpreter(folder, words);
    if (count == 0)
        report_missing("the command ecr-py", self);
    if (!FORMAT(launcher, "%s/../%s", folder, LAUNCHER) || access(launcher, R_OK) != 0)
        report_missing("../" LAUNCHER, self);
    char *options[] = {"-IS", "-X", "utf8", launcher};
    memcpy(words + count, options, sizeof options);
    count += sizeof options / sizeof *options;
    for (arguments++; *arguments != NULL && count < MOST_WORDS - 1; arguments++)
        words[count++] = *arguments; /* so many are an error in any case */
    if (restore_input(given, length))
        execv(words[0], words);
    if (errno == ENOENT)
        report_missing(words[0], self);
    report_not_started(words[0], strerror(errno));
}

#endif
