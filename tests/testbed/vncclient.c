/* A viewer on libvncclient: takes the picture of a screen with an encoding, and writes it to standard output.
 *
 *     vncclient PORT PASSWORD ENCODING
 *
 * The output is "WIDTH HEIGHT\n", then red, green and blue of each pixel. It ends with 2 where it is not let in. */
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

int main(int argc, char **argv)
{
    rfbClient *client = rfbGetClient(8, 3, 4);
    int i;

    if (argc != 4 || !client)
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
    for (i = 0; i < 500 && !is_done; i++) {
        /* The library does not look at what it has read already. */
        int waits = client->buffered > 0 ? 1 : WaitForMessage(client, 100000);
        if (waits < 0 || (waits > 0 && !HandleRFBServerMessage(client)))
            return 3;
    }
    if (!is_done)
        return 4;
    printf("%d %d\n", client->width, client->height);
    for (i = 0; i < client->width * client->height; i++)
        fwrite(client->frameBuffer + 4 * i, 1, 3, stdout);
    return 0;
}
