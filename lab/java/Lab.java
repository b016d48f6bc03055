import java.net.URI;

/**
 * Tells a program of the lab where its other end is, how much traffic to make,
 * and when to stop.
 */
final class Lab {
    static final int RATE = number("LAB_RATE");
    static final URI URL =
        URI.create("http://" + System.getenv("LAB_HOST") + ":" + number("LAB_PORT") + "/");
    private static final long END = System.nanoTime() + number("LAB_SECONDS") * 1_000_000_000L;

    /** Something that may fail. */
    interface Task {
        void run() throws Exception;
    }

    /** Does it so often a second, until the program's end. */
    static void paced(Task task) throws Exception {
        while (System.nanoTime() < END) {
            task.run();
            Thread.sleep(1000 / RATE);
        }
        System.exit(0);
    }

    /** Does it beside, for as long as the program lasts. */
    static void begin(Task task) {
        Thread thread = new Thread(() -> {
            try {
                task.run();
            } catch (Exception failed) {
                failed.printStackTrace();
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static int number(String name) {
        return Integer.parseInt(System.getenv(name));
    }
}
