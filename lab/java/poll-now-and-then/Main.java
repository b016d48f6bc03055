import java.io.InputStream;
import java.net.HttpURLConnection;

/** Asks every five seconds, several times in a row. */
final class Main {
    public static void main(String[] arguments) throws Exception {
        Lab.paced(() -> {
            for (int call = 0; call < 3; call++) {
                fetch();
            }
            Thread.sleep(5000);
        });
    }

    private static void fetch() throws Exception {
        HttpURLConnection connection = (HttpURLConnection) Lab.URL.toURL().openConnection();
        try (InputStream body = connection.getInputStream()) {
            body.readAllBytes();
        }
    }
}
