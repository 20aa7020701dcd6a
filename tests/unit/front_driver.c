/* Runs the front's stripped and answer_hit for each case that it reads, with the case's environment and clock.

   A case: "URL_LENGTH VARIABLES SECONDS NANOSECONDS\n" and the URL; then for each variable
   "LENGTH\n" and its bytes. The result: "OUTCOME LENGTH\n" and the document. */
#define FRONT_TEST
#include "front.c"

static struct timespec clock_of_test;
static struct timespec now(void)
{
    return clock_of_test;
}

static char *bytes(size_t length)
{
    char *at = malloc(length + 1); /* of its own, so that a sanitizer sees what is read beyond */
    if (at == NULL || fread(at, 1, length, stdin) != length)
        exit(3);
    at[length] = '\0';
    return at;
}

int main(void)
{
    size_t url_length, count, length;
    long long seconds;
    long nanoseconds;
#ifdef _WIN32
    _setmode(0, _O_BINARY);
    _setmode(1, _O_BINARY);
#endif
    while (scanf("%zu %zu %lld %ld", &url_length, &count, &seconds, &nanoseconds) == 4) {
        getchar();
        char *url = bytes(url_length);
        own_environ = calloc(count + 1, sizeof *own_environ);
        for (size_t n = 0; n < count && scanf("%zu", &length) == 1; n++) {
            getchar();
            own_environ[n] = bytes(length);
        }
        clock_of_test = (struct timespec){seconds, nanoseconds};
        hit found = {"", "", false};
        const char *given = stripped(url, url_length);
        outcome result = given == NULL ? UNUSUAL : answer_hit(given, &found);
        const char *document = result == ANSWER ? found.document : "";
        printf("%d %zu\n%s", (int)result, strlen(document), document);
        fflush(stdout);
        for (size_t n = 0; n < count; n++)
            free(own_environ[n]);
        free(own_environ);
        free(url);
    }
    return 0;
}
