/* A viewer on libvncclient: takes the picture of a screen with an encoding, and writes it to standard output.
 *
 *     vncclient PORT PASSWORD ENCODING [wait] [type TEXT] [point X Y]... [click]
 *
 * Before, it waits until its standard input ends, or types letters, digits and Enter, or moves the pointer and clicks.
 * The output is "WIDTH HEIGHT\n", then red, green and blue of each pixel. It ends with 2 where it is not let in. */
#include <poll.h>
#include <rfb/rfbclient.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *password;
static int pixels_drawn;
static int is_done;

static char *give_password(rfbClient *client)
{
    (void)client;
    return strdup(password);
}

static void drawn(rfbClient *client, int x, int y, int w, int h)
{
    (void)client;
    (void)x;
    (void)y;
    pixels_drawn += w * h;
}

/* The first update has all of the picture, unless it says that its size is another. */
static void updated(rfbClient *client)
{
    is_done |= pixels_drawn >= client->width * client->height;
}

/* Handles what comes within 100 ms. */
static int listen_for_a_moment(rfbClient *client)
{
    /* The library does not look at what it has read already. */
    int waits = client->buffered > 0 ? 1 : WaitForMessage(client, 100000);
    return waits == 0 || (waits > 0 && HandleRFBServerMessage(client));
}

static void press(rfbClient *client, uint32_t key)
{
    SendKeyEvent(client, key, TRUE);
    SendKeyEvent(client, key, FALSE);
    listen_for_a_moment(client);
}

/* Does what the words say, and gives whether it could. */
static int perform(rfbClient *client, char **words)
{
    int x = 0, y = 0, i;

    for (; *words; words++) {
        if (!strcmp(*words, "wait")) {
            struct pollfd input = { .fd = 0, .events = POLLIN };
            while (poll(&input, 1, 0) == 0)
                if (!listen_for_a_moment(client))
                    return 0;
            /* What is on its way: until nothing came for two seconds. */
            for (i = 0; i < 20; i++) {
                int before = pixels_drawn;

                if (!listen_for_a_moment(client))
                    return 0;
                if (pixels_drawn != before)
                    i = 0;
            }
        } else if (!strcmp(*words, "type")) {
            for (const char *letter = *++words; *letter; letter++)
                press(client, (unsigned char)*letter);
            press(client, 0xff0d);
        } else if (!strcmp(*words, "point")) {
            x = atoi(*++words);
            y = atoi(*++words);
            SendPointerEvent(client, x, y, 0);
            for (i = 0; i < 3; i++)
                listen_for_a_moment(client);
        } else if (!strcmp(*words, "click")) {
            SendPointerEvent(client, x, y, rfbButton1Mask);
            listen_for_a_moment(client);
            SendPointerEvent(client, x, y, 0);
        }
    }
    return 1;
}

int main(int argc, char **argv)
{
    rfbClient *client = rfbGetClient(8, 3, 4);
    int i;

    if (argc < 4 || !client)
        return 1;
    password = argv[2];
    client->serverHost = strdup("127.0.0.1");
    client->serverPort = atoi(argv[1]);
    client->GetPassword = give_password;
    client->GotFrameBufferUpdate = drawn;
    client->FinishedFrameBufferUpdate = updated;
    client->appData.encodingsString = argv[3];
    client->appData.enableJPEG = FALSE;
    client->appData.useRemoteCursor = FALSE;
    client->canHandleNewFBSize = TRUE;
    client->programName = "vncclient";
    rfbEnableClientLogging = FALSE;
    if (!rfbInitClient(client, NULL, NULL))
        return 2;
    if (!perform(client, argv + 4))
        return 3;
    for (i = 0; i < 500 && !is_done; i++)
        if (!listen_for_a_moment(client))
            return 3;
    if (!is_done)
        return 4;
    printf("%d %d\n", client->width, client->height);
    for (i = 0; i < client->width * client->height; i++)
        fwrite(client->frameBuffer + 4 * i, 1, 3, stdout);
    return 0;
}
