import java.io.InputStream;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.ArrayList;
import java.util.List;

/** Asks for a stream, looks at the status, and leaves the stream alone. */
final class Main {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static final List<HttpResponse<InputStream>> ANSWERS = new ArrayList<>();

    public static void main(String[] arguments) throws Exception {
        Lab.paced(Main::check);
    }

    private static void check() throws Exception {
        HttpRequest request = HttpRequest.newBuilder(Lab.URL).build();
        ANSWERS.add(CLIENT.send(request, BodyHandlers.ofInputStream()));
    }
}
