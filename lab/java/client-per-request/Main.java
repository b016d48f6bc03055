import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

/** Makes a client for each request. */
final class Main {
    public static void main(String[] arguments) throws Exception {
        Lab.paced(Main::fetch);
    }

    private static void fetch() throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest request = HttpRequest.newBuilder(Lab.URL).build();
        client.send(request, BodyHandlers.ofString());
    }
}
