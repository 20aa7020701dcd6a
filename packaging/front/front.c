/* Answers cached hits of `docker-credential-ecr-py get`, and becomes the Python program for all else.

   It does what docker_credential_ecr_py/helper.py does, in a twentieth of the time, most of which
   is an interpreter's start. It knows less than Python and never more: whatever is unusual,
   damaged, too long or about to expire is handed over, with standard input as it was and nothing
   written.

   The order is that of store/record.py, store/daemon_client.py and helper.py, and each part names
   the function that it mirrors. Names, limits and character sets are theirs: constants.h is
   generated from them (see constants.py). All text is in static buffers and ends with a NUL, as
   the fields of a record do. No length that comes from a file or a socket is trusted. */

#define _GNU_SOURCE      /* struct ucred */
#define _DARWIN_C_SOURCE /* getpeereid */
#define _FILE_OFFSET_BITS 64

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "constants.h"

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

enum { PATH = 8192, MOST_FIELDS = 4096, MOST_WORDS = 64 };

/* What an attempt comes to: the next one is tried, there is an answer, or it takes Python. */
typedef enum { NOTHING, ANSWER, UNUSUAL } outcome;

/* ---- what Python has and C has not ---- */

/* `to = how % (...)`; false if that does not fit. FORMAT takes an array. */
static bool format(char *to, size_t size, const char *how, ...)
{
    va_list values;
    va_start(values, how);
    int length = vsnprintf(to, size, how, values);
    va_end(values);
    return length >= 0 && (size_t)length < size;
}

#define FORMAT(to, ...) format(to, sizeof(to), __VA_ARGS__)

static bool equal(const char *one, const char *other)
{
    return strcmp(one, other) == 0;
}

static bool starts_with(const char *whole, const char *part)
{
    return strncmp(whole, part, strlen(part)) == 0;
}

/* `not found.translate(None, set)` */
static bool consists_of(const char *found, const char *set)
{
    return found[strspn(found, set)] == '\0';
}

/* data.split(b"\0"). There is a NUL behind the data, too. 0 if there are too many fields. */
static size_t split(const char *data, size_t length, const char *fields[MOST_FIELDS])
{
    const char *at = data;
    for (size_t count = 0; count < MOST_FIELDS; at += strlen(at) + 1) {
        fields[count++] = at;
        if (at + strlen(at) == data + length)
            return count;
    }
    return 0;
}

/* A time of at most 18 digits, and nothing but digits: Python's int() takes more. */
static bool time_in(const char *digits, long long *seconds)
{
    *seconds = strtoll(digits, NULL, 10);
    return *digits != '\0' && consists_of(digits, "0123456789") && strlen(digits) <= 18;
}

#ifndef FRONT_TEST
extern char **environ;

static struct timespec now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    return time;
}
#else /* the test has its own of both */
#define environ environ_of_test
static char **environ;
static struct timespec now(void);
#endif

/* environ.get(name); NULL if it is not there */
static const char *variable(const char *name)
{
    size_t length = strlen(name);
    for (char **one = environ; *one != NULL; one++)
        if (starts_with(*one, name) && (*one)[length] == '=')
            return *one + length + 1;
    return NULL;
}

/* environ.get(name, "") */
static const char *value_of(const char *name)
{
    const char *value = variable(name);
    return value != NULL ? value : "";
}

/* ---- store/record.py ---- */

/* record.plain_host; false if it takes Python's parser */
static bool plain_host(const char *server_url, char host[LONGEST_URL + 1])
{
    if (strlen(server_url) > LONGEST_URL || !consists_of(server_url, URL_CHARACTERS))
        return false;
    const char *start = server_url + (starts_with(server_url, "https://") ? 8 : 0);
    format(host, LONGEST_URL + 1, "%.*s", (int)strcspn(start, "/"), start);
    return *host != '\0' && consists_of(host, HOST_CHARACTERS);
}

/* record._private */
static bool is_private(const struct stat *found, mode_t file_type)
{
    return (found->st_mode & S_IFMT) == file_type && found->st_uid == geteuid() &&
           (found->st_mode & 077) == 0;
}

/* record.is_private_folder */
static bool is_private_folder(const char *path)
{
    struct stat found;
    return lstat(path, &found) == 0 && is_private(&found, S_IFDIR);
}

/* record.cache_root; false if there is none */
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

/* record.context; false if it does not fit into a record */
static bool context(char here[LARGEST_RECORD])
{
    static const char *const names[] = {CONTEXT}, *const secrets[] = {SECRETS};
    size_t used = 0;
    here[0] = '\0';
    for (size_t n = 0; n < sizeof names / sizeof *names + sizeof secrets / sizeof *secrets; n++) {
        bool is_secret = n >= sizeof names / sizeof *names; /* only whether it is there */
        const char *name = is_secret ? secrets[n - sizeof names / sizeof *names] : names[n];
        const char *value = variable(name);
        if (value == NULL || (is_secret && *value == '\0'))
            continue;
        const char *line = used > 0 ? "\n" : "";
        if (!format(here + used, LARGEST_RECORD - used, "%s%s%s%s", line, name,
                    is_secret ? "" : "=", is_secret ? "" : value))
            return false;
        used += strlen(here + used);
    }
    return true;
}

/* record.fingerprint: the bytes as one number, modulo 2**128 - EXCESS, as 32 hexadecimal digits.
   As 2**128 is EXCESS more than a multiple, what does not fit into 128 bits counts EXCESS times. */
static void fingerprint(const char *data, size_t length, char digits[33])
{
    unsigned __int128 sum = 0;
    for (size_t n = 0; n < length; n++) {
        unsigned __int128 carried = (sum >> 120) * EXCESS;
        sum = (sum << 8 | (unsigned char)data[n]) + carried;
        if (sum < carried)
            sum += EXCESS;
    }
    if (sum >= (unsigned __int128)0 - EXCESS)
        sum += EXCESS;
    format(digits, 33, "%016llx%016llx", (unsigned long long)(sum >> 64), (unsigned long long)sum);
}

/* record.stamp; false for a time that takes more than 64 bits */
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

/* record.holds and record.fits, for the paths and stamps from one field up to another */
static outcome holds(const char **fields, size_t from, size_t to)
{
    char seen[80];
    for (size_t n = from; n + 1 < to; n += 2) {
        if (!stamp(fields[n], seen))
            return UNUSUAL;
        bool is_present = equal(fields[n + 1], PRESENT) && !equal(seen, ABSENT);
        if (!equal(seen, fields[n + 1]) && !is_present)
            return NOTHING;
    }
    return ANSWER;
}

typedef struct {
    char data[LARGEST_RECORD + 1];
    const char *fields[MOST_FIELDS];
    size_t count;
} record;

/* record.read and record.fields_of. NONBLOCK: a FIFO in the place of a record must not make us wait. */
static outcome read_record(const char *path, const char *kind, record *into)
{
    int file = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (file < 0)
        return NOTHING;
    struct stat found;
    ssize_t length = 0;
    if (fstat(file, &found) == 0 && is_private(&found, S_IFREG))
        length = read(file, into->data, LARGEST_RECORD);
    close(file);
    if (length <= 0)
        return NOTHING;
    into->data[length] = '\0';
    const char *body = into->data + strlen(into->data) + 1, *end = into->data + length;
    char seal[33];
    if (body > end) /* there is no NUL in it */
        return NOTHING;
    fingerprint(body, (size_t)(end - body), seal);
    if (!equal(into->data, seal))
        return NOTHING;
    into->count = split(body, (size_t)(end - body), into->fields);
    if (into->count == 0)
        return UNUSUAL;
    return into->count > DETAILS && equal(into->fields[KIND], kind) ? ANSWER : NOTHING;
}

/* record._is_plain */
static bool is_plain(const char *json)
{
    size_t inner = strspn(json + (*json == '"'), PLAIN_CHARACTERS);
    return *json == '"' && equal(json + 1 + inner, "\"");
}

/* record.selection_for */
static outcome selection_for(const char *root, const char *host, const char *here, record *into)
{
    static char path[PATH];
    char name[33];
    fingerprint(here, strlen(here), name);
    if (!FORMAT(path, "%s/%s%s~%s", root, SELECTIONS, host, name))
        return UNUSUAL;
    outcome found = read_record(path, SELECTION, into);
    if (found != ANSWER)
        return found;
    if (!equal(into->fields[HOST], host) || !equal(into->fields[SELECTED_FOR], here) ||
        !consists_of(into->fields[SELECTED_KEY], KEY_CHARACTERS))
        return NOTHING;
    return holds(into->fields, SELECTION_CONDITIONS, into->count);
}

/* record.Hit: `document` is empty if the host has no credentials */
typedef struct {
    const char *key, *document;
    bool ageing;
} hit;

/* record.find and record.answer */
static outcome find(const char *root, const char *server_url, const char *host, hit *into)
{
    static record selection, credential;
    static char here[LARGEST_RECORD], path[PATH], document[LARGEST_RECORD + 2 * LONGEST_URL];
    if (!context(here))
        return UNUSUAL;
    if (!is_private_folder(root))
        return NOTHING;
    outcome found = selection_for(root, host, here, &selection);
    if (found != ANSWER)
        return found;
    *into = (hit){selection.fields[SELECTED_KEY], "", false};
    if (*into->key == '\0')
        return ANSWER;
    if (!FORMAT(path, "%s/%s%s", root, CREDENTIALS, into->key))
        return UNUSUAL;
    found = read_record(path, CREDENTIAL, &credential);
    if (found != ANSWER)
        return found;
    const char **fields = credential.fields;
    if (credential.count <= SECRET || !equal(fields[KEY], into->key))
        return NOTHING;
    long long issued, renew_at, spent_at, time = now().tv_sec;
    if (!time_in(fields[ISSUED], &issued) || !time_in(fields[RENEW_AT], &renew_at) ||
        !time_in(fields[SPENT_AT], &spent_at))
        return UNUSUAL;
    if (time < issued || time >= spent_at || !is_plain(fields[USERNAME]) ||
        !is_plain(fields[SECRET]))
        return NOTHING;
    if (!FORMAT(document, "{\"ServerURL\":\"%s\",\"Username\":%s,\"Secret\":%s}\n", server_url,
                fields[USERNAME], fields[SECRET]))
        return UNUSUAL;
    *into = (hit){into->key, document, time >= renew_at};
    return holds(fields, CONDITIONS, credential.count);
}

/* ---- store/daemon_client.py ---- */

static long long milliseconds(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000LL + time.tv_nsec / 1000000;
}

/* daemon_client._peer: whether the process at the other end is this user's; its PID, if known */
static bool is_ours(int connection, int *process)
{
    *process = 0;
#ifdef __linux__
    struct ucred peer;
    socklen_t length = sizeof peer;
    if (getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0)
        return false;
    *process = peer.pid;
    return length == sizeof peer && peer.uid == geteuid();
#else
    uid_t user;
    gid_t group;
    return getpeereid(connection, &user, &group) == 0 && user == geteuid();
#endif
}

/* daemon_client.connect; -1 if there is no daemon of ours */
static int connect_to_daemon(int *process)
{
    static char folder[PATH];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat found;
    if (!runtime_folder(folder) || !FORMAT(address.sun_path, "%s%s", folder, SOCKET) ||
        stat(address.sun_path, &found) != 0 || !is_private_folder(folder))
        return -1;
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    /* On Linux, connect waits so long for room in the queue of a busy daemon, too. */
    struct timeval limit = {.tv_usec = FIRST_LOOK * 1000};
#ifdef SO_NOSIGPIPE /* macOS */
    setsockopt(connection, SOL_SOCKET, SO_NOSIGPIPE, &(int){1}, sizeof(int));
#endif
    if (connection >= 0 && fcntl(connection, F_SETFD, FD_CLOEXEC) == 0 &&
        setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
        connect(connection, (struct sockaddr *)&address, sizeof address) == 0 &&
        is_ours(connection, process))
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

/* daemon_client._ask, for a hit: the length of the answer, or 0 */
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

/* daemon_client.hit and helper._answer_from_daemon. A credential that the client is to renew takes
   Python, so it asks with `hit` instead of `get`: that leaves the renewal to the next `get`. */
static outcome answer_from_daemon(const char *server_url, hit *into)
{
    static char here[LARGEST_RECORD], hexadecimal[2 * LARGEST_RECORD], request[LARGEST_REQUEST],
        start[2 * LONGEST_URL], answer[LARGEST_RECORD + 1];
    static const char *fields[MOST_FIELDS];
    if (!context(here))
        return UNUSUAL;
    for (size_t n = 0; here[n] != '\0'; n++)
        format(hexadecimal + 2 * n, 3, "%02x", (unsigned char)here[n]);
    if (!FORMAT(request, "%s hit %s %s\n", PROTOCOL, server_url, hexadecimal) ||
        !FORMAT(start, "{\"ServerURL\":\"%s\",\"Username\":", server_url))
        return UNUSUAL;
    size_t count = split(answer, ask(request, answer), fields);
    if (count < 2 || !equal(fields[0], KEPT_FRESH))
        return NOTHING;
    const char *document = fields[count - 1];
    size_t length = strlen(document);
    bool is_none = equal(document, NO_CREDENTIALS);
    bool is_whole = starts_with(document, start) && length >= 3 &&
                    equal(document + length - 3, "\"}\n");
    if (!is_none && !is_whole)
        return NOTHING;
    *into = (hit){"", is_none ? "" : document, false};
    return holds(fields, 1, count - 1);
}

/* ---- helper.py ---- */

/* helper._renew_in_background: whether a renewal was started in this minute. If not, Python
   starts one. The time is in the future if a renewal has asked for a longer pause. */
static bool is_being_renewed(const char *root, const char *key)
{
    static char path[PATH];
    struct stat found;
    if (!FORMAT(path, "%s/%s%s", root, LOCKS, key) || stat(path, &found) != 0)
        return false;
    struct timespec time = now();
    long long seconds = (long long)time.tv_sec - found.st_mtim.tv_sec;
    seconds -= time.tv_nsec < found.st_mtim.tv_nsec;
    return -LONGEST_PAUSE <= seconds && seconds < RENEWAL_PAUSE;
}

/* helper._answer_hit */
static outcome answer_hit(const char *server_url, hit *into)
{
    static char root[PATH], host[LONGEST_URL + 1];
    if (*value_of("AWS_ECR_DISABLE_CACHE") != '\0' || !plain_host(server_url, host))
        return UNUSUAL;
    outcome found = cache_root(root) ? find(root, server_url, host, into) : NOTHING;
    if (found == NOTHING)
        return answer_from_daemon(server_url, into);
    if (found == ANSWER && into->ageing && !is_being_renewed(root, into->key))
        return UNUSUAL;
    return found;
}

/* bytes.strip; NULL for bytes that have a NUL among them */
static const char *stripped(char *given, size_t length)
{
    const char *blanks = " \t\n\r\v\f";
    given[length] = '\0';
    if (strlen(given) != length)
        return NULL;
    while (length > 0 && strchr(blanks, given[length - 1]) != NULL)
        given[--length] = '\0';
    return given + strspn(given, blanks);
}

#ifndef FRONT_TEST

/* helper._end */
static _Noreturn void end(const char *answer, int code)
{
    signal(SIGPIPE, SIG_IGN); /* if the client has gone that is a failure, not a signal */
    while (*answer != '\0') {
        ssize_t written = write(STDOUT_FILENO, answer, strlen(answer));
        if (written < 0 && errno != EINTR)
            _exit(1);
        answer += written > 0 ? written : 0;
    }
    _exit(code);
}

/* helper._read_input: the number of bytes. `whole` is false if there may be more. */
static size_t read_input(char input[LONGEST_INPUT], bool *whole)
{
    size_t used = 0;
    *whole = false;
    while (used < LONGEST_INPUT && !*whole) {
        ssize_t more = read(STDIN_FILENO, input + used, LONGEST_INPUT - used);
        if (more < 0 && errno != EINTR)
            break;
        used += more > 0 ? (size_t)more : 0;
        *whole = more == 0;
    }
    return used;
}

/* The launcher's message for an installation that is not whole. */
static _Noreturn void report_missing(const char *missing, const char *beside)
{
    static char line[2 * PATH];
    FORMAT(line, "ecr-py: %s is not beside %s: install docker-credential-ecr-py again\n", missing,
           beside);
    signal(SIGPIPE, SIG_IGN);
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written; /* the exit code says it too */
    end(line, 1);
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

/* Runs the launcher's Python half, isolated as the launcher does it, with the same arguments. */
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
    report_missing(words[0], self);
}

int main(int count, char **arguments)
{
    static char input[LONGEST_INPUT + 1], argument[LONGEST_INPUT + 1];
    size_t length = 0;
    const char *url = NULL;
    bool is_get = count > 1 && equal(arguments[1], "get"), whole;
    hit found;
    if (is_get && count == 3 && FORMAT(argument, "%s", arguments[2]))
        url = stripped(argument, strlen(argument));
    if (is_get && count == 2 && !isatty(STDIN_FILENO)) {
        length = read_input(input, &whole);
        FORMAT(argument, "%.*s", (int)length, input);
        url = whole && strlen(argument) == length ? stripped(argument, length) : NULL;
    }
    if (url != NULL && answer_hit(url, &found) == ANSWER)
        end(*found.document ? found.document : NOT_FOUND, *found.document ? 0 : 1);
    become_python(arguments, input, length);
}
#endif
