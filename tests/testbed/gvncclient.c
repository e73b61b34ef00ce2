/* A viewer on libgvnc: says what the server tells it beside pixels, and does what it is told.
 *
 *     gvncclient PORT PASSWORD
 *
 * It says, a line each: "ready" or "refused", "size WIDTH HEIGHT", "pointer absolute" or "pointer relative", "leds BITS",
 * "cursor WIDTH HEIGHT HOT-X HOT-Y RRGGBBAA", where the colour is that of the pixel below the hot spot's, "end".
 * It does, a line of standard input each: "press KEYSYM" and "release KEYSYM", "move DX DY" moves the pointer, "point X Y"
 * says where it is, "click" presses the left button there, "resize WIDTH HEIGHT" asks for another size, "picture FILE" writes
 * what it has of the screen by now and says "written": "WIDTH HEIGHT\n", then red, green and blue of each pixel. It ends when
 * its standard input does. */
#include <gvnc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *password;
static GMainLoop *loop;
static guint8 *pixels;
static int pointer_x, pointer_y;

/* A framebuffer of the right size, and all of the picture for it. */
static void take_size(VncConnection *connection, int width, int height)
{
    const VncPixelFormat *format = vnc_connection_get_pixel_format(connection);
    VncBaseFramebuffer *framebuffer;

    g_free(pixels);
    pixels = g_malloc0((gsize)width * height * 4);
    framebuffer = vnc_base_framebuffer_new(pixels, width, height, width * 4, format, format);
    vnc_connection_set_framebuffer(connection, VNC_FRAMEBUFFER(framebuffer));
    g_object_unref(framebuffer);
    printf("size %d %d\n", width, height);
    vnc_connection_framebuffer_update_request(connection, FALSE, 0, 0, width, height);
}

static void ask(VncConnection *connection)
{
    vnc_connection_framebuffer_update_request(connection, TRUE, 0, 0, vnc_connection_get_width(connection),
                                              vnc_connection_get_height(connection));
}

static void initialized(VncConnection *connection)
{
    gint32 encodings[] = {
        VNC_CONNECTION_ENCODING_ZRLE,           VNC_CONNECTION_ENCODING_RAW,
        VNC_CONNECTION_ENCODING_RICH_CURSOR,    VNC_CONNECTION_ENCODING_POINTER_CHANGE,
        VNC_CONNECTION_ENCODING_LED_STATE,      VNC_CONNECTION_ENCODING_EXT_KEY_EVENT,
        VNC_CONNECTION_ENCODING_DESKTOP_RESIZE, VNC_CONNECTION_ENCODING_EXTENDED_DESKTOP_RESIZE,
    };

    vnc_connection_set_encodings(connection, G_N_ELEMENTS(encodings), encodings);
    printf("ready\n");
    take_size(connection, vnc_connection_get_width(connection), vnc_connection_get_height(connection));
}

static void updated(VncConnection *connection, int x, int y, int width, int height)
{
    (void)x;
    (void)y;
    (void)width;
    (void)height;
    ask(connection);
}

static void pointer_mode_changed(VncConnection *connection, gboolean is_absolute)
{
    printf("pointer %s\n", is_absolute ? "absolute" : "relative");
    ask(connection);
}

/* The library has a signal for the LEDs, but calls nobody for it (1.3.1). */
static gboolean look_at_leds(gpointer data)
{
    static int known = -1;
    VncConnection *connection = data;

    if (vnc_connection_is_initialized(connection)) {
        if (known != vnc_connection_get_ledstate(connection)) {
            known = vnc_connection_get_ledstate(connection);
            printf("leds %d\n", known);
        }
        ask(connection);
    }
    return TRUE;
}

static void cursor_changed(VncConnection *connection, VncCursor *cursor)
{
    if (cursor) {
        int width = vnc_cursor_get_width(cursor), x = vnc_cursor_get_hotx(cursor), y = vnc_cursor_get_hoty(cursor);
        const guint8 *pixel = vnc_cursor_get_data(cursor) + ((y + 1) * width + x) * 4;

        printf("cursor %d %d %d %d %02x%02x%02x%02x\n", width, vnc_cursor_get_height(cursor), x, y, pixel[0], pixel[1],
               pixel[2], pixel[3]);
    }
    ask(connection);
}

static void choose_authentication(VncConnection *connection, GValueArray *types)
{
    (void)types;
    vnc_connection_set_auth_type(connection, VNC_CONNECTION_AUTH_VNC);
}

static void give_credential(VncConnection *connection, GValueArray *wanted)
{
    (void)wanted;
    vnc_connection_set_credential(connection, VNC_CONNECTION_CREDENTIAL_PASSWORD, password);
}

static void refused(VncConnection *connection, const char *reason)
{
    (void)connection;
    (void)reason;
    printf("refused\n");
}

static void ended(VncConnection *connection)
{
    (void)connection;
    printf("end\n");
    g_main_loop_quit(loop);
}

/* One of the three colours of a pixel, in eight bits. */
static int colour(guint32 pixel, int shift, int max)
{
    return (int)((pixel >> shift) & (guint32)max) * 255 / max;
}

static void write_picture(VncConnection *connection, const char *name)
{
    const VncPixelFormat *format = vnc_connection_get_pixel_format(connection);
    int width = vnc_connection_get_width(connection), height = vnc_connection_get_height(connection), i;
    FILE *file = fopen(name, "wb");

    if (!file || !pixels || format->bits_per_pixel != 32)
        exit(1);
    fprintf(file, "%d %d\n", width, height);
    for (i = 0; i < width * height; i++) {
        guint32 pixel;

        memcpy(&pixel, pixels + 4 * i, 4);
        fputc(colour(pixel, format->red_shift, format->red_max), file);
        fputc(colour(pixel, format->green_shift, format->green_max), file);
        fputc(colour(pixel, format->blue_shift, format->blue_max), file);
    }
    fclose(file);
    printf("written\n");
}

static gboolean obey(GIOChannel *input, GIOCondition condition, gpointer data)
{
    VncConnection *connection = data;
    gchar *line = NULL;
    char name[1024];
    int a, b;

    (void)condition;
    if (g_io_channel_read_line(input, &line, NULL, NULL, NULL) != G_IO_STATUS_NORMAL) {
        g_main_loop_quit(loop);
        return FALSE;
    }
    if (sscanf(line, "press %i", &a) == 1) {
        vnc_connection_key_event(connection, TRUE, a, 0);
    } else if (sscanf(line, "release %i", &a) == 1) {
        vnc_connection_key_event(connection, FALSE, a, 0);
    } else if (sscanf(line, "move %i %i", &a, &b) == 2) {
        vnc_connection_pointer_event(connection, 0, 0x7fff + a, 0x7fff + b);
    } else if (sscanf(line, "point %i %i", &a, &b) == 2) {
        pointer_x = a;
        pointer_y = b;
        vnc_connection_pointer_event(connection, 0, pointer_x, pointer_y);
    } else if (!strcmp(line, "click\n")) {
        vnc_connection_pointer_event(connection, 1, pointer_x, pointer_y);
        vnc_connection_pointer_event(connection, 0, pointer_x, pointer_y);
    } else if (sscanf(line, "picture %1023[^\n]", name) == 1) {
        write_picture(connection, name);
    } else if (sscanf(line, "resize %i %i", &a, &b) == 2) {
        vnc_connection_set_size(connection, a, b);
    }
    g_free(line);
    return TRUE;
}

int main(int argc, char **argv)
{
    VncConnection *connection = vnc_connection_new();

    if (argc != 3)
        return 1;
    password = argv[2];
    setvbuf(stdout, NULL, _IOLBF, 0);
    loop = g_main_loop_new(NULL, FALSE);
    vnc_connection_set_shared(connection, TRUE);
    g_signal_connect(connection, "vnc-initialized", G_CALLBACK(initialized), NULL);
    g_signal_connect(connection, "vnc-framebuffer-update", G_CALLBACK(updated), NULL);
    g_signal_connect(connection, "vnc-desktop-resize", G_CALLBACK(take_size), NULL);
    g_signal_connect(connection, "vnc-pointer-mode-changed", G_CALLBACK(pointer_mode_changed), NULL);
    g_signal_connect(connection, "vnc-cursor-changed", G_CALLBACK(cursor_changed), NULL);
    g_signal_connect(connection, "vnc-auth-choose-type", G_CALLBACK(choose_authentication), NULL);
    g_signal_connect(connection, "vnc-auth-credential", G_CALLBACK(give_credential), NULL);
    g_signal_connect(connection, "vnc-auth-failure", G_CALLBACK(refused), NULL);
    g_signal_connect(connection, "vnc-disconnected", G_CALLBACK(ended), NULL);
    g_timeout_add(100, look_at_leds, connection);
    g_io_add_watch(g_io_channel_unix_new(0), G_IO_IN | G_IO_HUP, obey, connection);
    vnc_connection_open_host(connection, "127.0.0.1", argv[1]);
    g_main_loop_run(loop);
    return 0;
}
