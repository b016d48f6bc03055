/* client PORT COUNT WAY: opens COUNT connections, a few in a second, and keeps them
 * until the end of its standard input. WAY is how the code that does it is reached:
 *   plain    by a function of this program
 *   twice    by two of its functions in turn
 *   library  by a function of libfetch.so, from beside it
 *   made     by code that the program makes itself, as a just-in-time compiler does
 *   serve    not at all: accepts them instead
 * It says `ready` before the first, and then `opened`. */
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

static int port;

__attribute__((noinline)) static int dial(void) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons(port)};
    peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer)) {
        perror("connect");
        exit(1);
    }
    return fd;
}

__attribute__((noinline)) static int fetch(void) {
    int fd = dial();
    __asm__ volatile("" ::: "memory");
    return fd;
}

__attribute__((noinline)) static int fetch_otherwise(void) {
    char room[700];
    memset(room, port, sizeof room);
    __asm__ volatile("" ::"r"(room) : "memory");
    int otherwise = dial();
    __asm__ volatile("" ::"r"(room) : "memory");
    return otherwise;
}

__attribute__((noinline)) static int take(void) {
    static int listener;
    if (!listener) {
        struct sockaddr_in own = {.sin_family = AF_INET, .sin_port = htons(port)};
        own.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        listener = socket(AF_INET, SOCK_STREAM, 0);
        if (bind(listener, (struct sockaddr *)&own, sizeof own) || listen(listener, 64)) {
            perror("listen");
            exit(1);
        }
        printf("listening\n");
    }
    int fd = accept(listener, NULL, NULL);
    __asm__ volatile("" ::: "memory");
    return fd;
}

static int (*made(void))(int (*)(void)) {
    /* push rbp; mov rbp, rsp; call rdi; pop rbp; ret */
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};
    void *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(at, code, sizeof code);
    printf("%lx\n", (unsigned long)at);
    return (int (*)(int (*)(void)))at;
}

__attribute__((noinline)) static int by_library(int (*call)(int (*)(void))) {
    int fd = call(dial);
    __asm__ volatile("" ::: "memory");
    return fd;
}

int main(int argc, char **argv) {
    setlinebuf(stdout);
    port = atoi(argv[1]);
    int count = atoi(argv[2]);
    const char *way = argv[3];
    int (*call)(int (*)(void)) = NULL;
    if (!strcmp(way, "library")) {
        void *library = dlopen(argv[4], RTLD_NOW);
        if (!library) {
            fprintf(stderr, "%s\n", dlerror());
            return 1;
        }
        call = (int (*)(int (*)(void)))dlsym(library, "library_fetch");
    } else if (!strcmp(way, "made")) {
        call = made();
    }
    printf("ready\n");
    getchar();
    for (int i = 0; i < count; i++) {
        if (call)
            by_library(call);
        else if (!strcmp(way, "serve"))
            take();
        else {
            fetch();
            if (!strcmp(way, "twice"))
                fetch_otherwise();
        }
        usleep(20000);
    }
    printf("opened\n");
    while (getchar() != EOF)
        ;
    return 0;
}
