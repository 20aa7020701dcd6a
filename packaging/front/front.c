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
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h> /* before constants.h: it has a CONTEXT, too */

#include <fcntl.h>
#include <io.h>
#include <wchar.h>
#define read(file, data, length) _read(file, data, (unsigned)(length))
#define write(file, data, length) _write(file, data, (unsigned)(length))
#define isatty _isatty
#else
#include <unistd.h>
#endif

#include "constants.h"

enum { PATH = 8192, MOST_FIELDS = 4096 };

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

/* strspn, which in zig's C library takes nine times as long as all the rest of a hit. */
static size_t span(const char *text, const char *set)
{
    bool in_set[256] = {false};
    size_t length = 0;
    for (; *set != '\0'; set++)
        in_set[(unsigned char)*set] = true;
    while (in_set[(unsigned char)text[length]])
        length++;
    return length;
}

/* `not found.translate(None, set)` */
static bool consists_of(const char *found, const char *set)
{
    return found[span(found, set)] == '\0';
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

#if defined FRONT_TEST || defined _WIN32 /* a test has its own; on Windows `prepare` makes it */
#undef environ
#define environ own_environ
static char **environ;
#else
extern char **environ;
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

/* ---- what each system does in its own way: front_posix.h, front_windows.h ---- */

static struct timespec now(void); /* a test has its own of this, too */

/* record.cache_root; false if there is none */
static bool cache_root(char root[PATH]);

/* record.is_private_folder */
static bool is_private_folder(const char *path);

/* record.stamp; false if it takes Python */
static bool stamp(const char *path, char seen[80]);

/* record.read: the number of bytes, or 0 unless it is a file of this user's alone */
static size_t read_private(const char *path, char *data, size_t room);

/* helper._last_change; false if there is no such file */
static bool last_change(const char *path, struct timespec *time);

/* tunnel_client._Lines, for one line: ANSWER with it, UNUSUAL if it takes Python, NOTHING if there
   is no tunnel that lives */
static outcome ask_tunnel(const char *request, char answer[LARGEST_RECORD + 1]);

/* daemon_client._ask, for a hit: the length of the answer, or 0 */
static size_t ask(const char *request, char answer[LARGEST_RECORD + 1]);

#ifndef FRONT_TEST
/* Before anything else: whether the arguments and the environment are what Python has. */
static bool prepare(void);

/* Runs the Python program, isolated and with the same arguments; `given` is what was read of
   standard input. Its exit code is this process's. */
static _Noreturn void become_python(char **arguments, const char *given, size_t length);
#endif

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

/* record.read and record.fields_of */
static outcome read_record(const char *path, const char *kind, record *into)
{
    size_t length = read_private(path, into->data, LARGEST_RECORD);
    if (length == 0)
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

/* record.is_plain */
static bool is_plain(const char *json)
{
    size_t inner = span(json + (*json == '"'), PLAIN_CHARACTERS);
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

/* ---- store/tunnel_client.py ---- */

/* tunnel_client.hit and helper._is_answered_by_tunnel. It takes Python to wait for an answer. */
static outcome answer_from_tunnel(const char *server_url, hit *into)
{
    static char request[2 * LONGEST_URL], start[2 * LONGEST_URL], answer[LARGEST_RECORD + 1],
        secret[LARGEST_RECORD + 1];
    if (!FORMAT(request, "%s hit %s\n", PROTOCOL, server_url) ||
        !FORMAT(start, "{\"ServerURL\":\"%s\",\"Username\":\"AWS\",\"Secret\":", server_url))
        return UNUSUAL;
    outcome asked = ask_tunnel(request, answer);
    if (asked != ANSWER || equal(answer, NOT_FORWARDED))
        return asked == ANSWER ? NOTHING : asked;
    *into = (hit){"", "", false};
    if (equal(answer, NO_CREDENTIALS))
        return ANSWER;
    size_t length = strlen(answer), before = strlen(start), after = strlen("}\n");
    if (!starts_with(answer, start) || length < before + after ||
        !equal(answer + length - after, "}\n"))
        return UNUSUAL;
    FORMAT(secret, "%.*s", (int)(length - before - after), answer + before);
    into->document = answer;
    return is_plain(secret) ? ANSWER : UNUSUAL;
}

/* ---- helper.py ---- */

/* helper.renew_in_background: whether a renewal was started in this minute. If not, Python
   starts one. The time is in the future if a renewal has asked for a longer pause. */
static bool is_being_renewed(const char *root, const char *key)
{
    static char path[PATH];
    struct timespec last, time = now();
    if (!FORMAT(path, "%s/%s%s", root, LOCKS, key) || !last_change(path, &last))
        return false;
    long long seconds = (long long)time.tv_sec - last.tv_sec;
    seconds -= time.tv_nsec < last.tv_nsec;
    return -LONGEST_PAUSE <= seconds && seconds < RENEWAL_PAUSE;
}

/* helper._answer_hit */
static outcome answer_hit(const char *server_url, hit *into)
{
    static char root[PATH], host[LONGEST_URL + 1];
    if (*value_of("AWS_ECR_DISABLE_CACHE") != '\0' || !plain_host(server_url, host))
        return UNUSUAL;
    outcome found = answer_from_tunnel(server_url, into);
    if (found != NOTHING)
        return found;
    found = cache_root(root) ? find(root, server_url, host, into) : NOTHING;
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

static bool write_all(int descriptor, const char *text)
{
#ifdef SIGPIPE
    signal(SIGPIPE, SIG_IGN); /* if the client has gone that is a failure, not a signal */
#endif
    while (*text != '\0') {
        ssize_t written = write(descriptor, text, strlen(text));
        if (written < 0 && errno != EINTR)
            return false;
        text += written > 0 ? written : 0;
    }
    return true;
}

/* helper.end */
static _Noreturn void end(const char *answer, int code)
{
    _exit(write_all(STDOUT_FILENO, answer) ? code : 1);
}

/* helper.read_input: the number of bytes. `whole` is false if there may be more. */
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

static _Noreturn void report(const char *line)
{
    write_all(STDERR_FILENO, line); /* the exit code says it too */
    end(line, 1);
}

/* The launcher's message for an installation that is not whole. */
static _Noreturn void report_missing(const char *missing, const char *beside)
{
    static char line[2 * PATH];
    FORMAT(line, "ecr-py: %s is not beside %s: install docker-credential-ecr-py again\n", missing,
           beside);
    report(line);
}

static _Noreturn void report_not_started(const char *program, const char *reason)
{
    static char line[2 * PATH];
    FORMAT(line, "ecr-py: %s cannot be started: %s\n", program, reason);
    report(line);
}

int main(int count, char **arguments)
{
    static char input[LONGEST_INPUT + 1], argument[LONGEST_INPUT + 1];
    size_t length = 0;
    const char *url = NULL;
    bool is_get = prepare() && count > 1 && equal(arguments[1], "get"), whole;
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

#ifdef _WIN32
#include "front_windows.h"
#else
#include "front_posix.h"
#endif
