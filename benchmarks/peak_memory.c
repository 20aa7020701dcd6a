/* Runs a program, then prints the most memory that it held resident, in KiB, on standard error.

   A process inherits the peak of the one that started it, so that one has to be small. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int count, char **arguments)
{
    int status = 1;
    struct rusage usage = {0};
    pid_t child = fork();
    if (child == 0) {
        execv(arguments[1], arguments + 1);
        _exit(127);
    }
    if (count < 2 || child < 0 || wait4(child, &status, 0, &usage) < 0)
        return 125;
    fprintf(stderr, "%ld", usage.ru_maxrss);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 126;
}
