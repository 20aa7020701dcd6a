/* docker-credential-wincred.exe, which Docker Desktop brings: has one login, for any registry. */
#include <stdio.h>

int main(void)
{
    char host[4096];
    if (fgets(host, sizeof host, stdin) == NULL)
        return 1;
    host[sizeof host - 1] = 0;
    for (char *end = host; *end; end++)
        if (*end == '\r' || *end == '\n')
            *end = 0;
    printf("{\"ServerURL\":\"%s\",\"Username\":\"me\",\"Secret\":\"of wincred\"}\n", host);
    return 0;
}
