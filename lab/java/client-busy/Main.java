import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** One client for all, asked by several threads at once. */
final class Main {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();

    public static void main(String[] arguments) throws Exception {
        for (int worker = 0; worker < 6; worker++) {
            Lab.begin(() -> Lab.paced(Main::fetch));
        }
        Lab.paced(Main::fetch);
    }

    private static void fetch() throws Exception {
        HttpRequest request = HttpRequest.newBuilder(Lab.URL).build();
        CLIENT.send(request, BodyHandlers.ofString());
    }
}
