/* How fast libvncserver encodes pictures, and how small they get.
 *
 *     vncserver FRAMES WIDTH HEIGHT ENCODING
 *
 * FRAMES is a file of pictures of 32-bit pixels, one after the other. A viewer on the other end of a socket asks for each of
 * them once. The output is "BYTES NANOSECONDS": what was sent after the first picture, and the processor time it took. */
#include <rfb/rfb.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static int viewer;
static volatile unsigned long received;

/* Reads what the viewer is sent. */
static void *drain(void *unused)
{
    static char buffer[1 << 20];
    ssize_t length;

    (void)unused;
    while ((length = read(viewer, buffer, sizeof(buffer))) > 0)
        __sync_fetch_and_add(&received, length);
    return NULL;
}

static unsigned long long now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return time.tv_sec * 1000000000ull + time.tv_nsec;
}

static int say(const void *bytes, size_t length)
{
    return write(viewer, bytes, length) == (ssize_t)length;
}

int main(int argc, char **argv)
{
    static const char request[10] = { 3, 0, 0, 0, 0, 0, -1, -1, -1, -1 };
    /* The version, no password, shared; SetEncodings with one, whose last byte is in place of the zero at the end. */
    char hello[] = "RFB 003.008\n\x01\x01\x02\x00\x00\x01\x00\x00\x00";
    unsigned long long begin, took = 0, bytes = 0;
    struct stat status;
    rfbScreenInfoPtr screen;
    rfbClientPtr client;
    pthread_t reader;
    int ends[2], file, width, height, count, i;
    char *frames;

    if (argc != 5 || (file = open(argv[1], O_RDONLY)) < 0 || fstat(file, &status))
        return 1;
    width = atoi(argv[2]);
    height = atoi(argv[3]);
    count = status.st_size / (4l * width * height);
    frames = mmap(NULL, status.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    if (frames == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
        return 1;
    rfbLogEnable(FALSE);
    screen = rfbGetScreen(NULL, NULL, width, height, 8, 3, 4);
    screen->frameBuffer = frames;
    screen->cursor = NULL;
    screen->deferUpdateTime = 0;
    viewer = ends[1];
    pthread_create(&reader, NULL, drain, NULL);
    hello[sizeof(hello) - 1] = atoi(argv[4]);
    client = rfbNewClient(screen, ends[0]);
    if (!client || !say(hello, sizeof(hello)))
        return 1;
    while (client->state != RFB_NORMAL || client->preferredEncoding != atoi(argv[4]))
        rfbProcessClientMessage(client);
    for (i = 0; i < count; i++) {
        unsigned long before = received, last;

        screen->frameBuffer = frames + 4l * width * height * i;
        if (!say(request, sizeof(request)))
            return 1;
        rfbProcessClientMessage(client);
        begin = now();
        rfbMarkRectAsModified(screen, 0, 0, width, height);
        if (!rfbSendFramebufferUpdate(client, client->modifiedRegion))
            return 1;
        if (i > 0)
            took += now() - begin;
        do {
            last = received;
            usleep(20000);
        } while (last != received);
        if (i > 0)
            bytes += received - before;
    }
    printf("%llu %llu\n", bytes, took);
    return 0;
}
