// Client PORT COUNT: opens COUNT connections, and keeps them until the end of its
// standard input. Tries another port before, so that its code is compiled.

import java.net.ConnectException;
import java.net.Socket;
import java.util.ArrayList;
import java.util.List;

public class Client {
    static final List<Socket> HELD = new ArrayList<>();

    static void fetch(int port) throws Exception {
        HELD.add(new Socket("127.0.0.1", port));
    }

    public static void main(String[] args) throws Exception {
        int port = Integer.parseInt(args[0]);
        try {
            fetch(1);
        } catch (ConnectException nobodyThere) {
            System.out.println("ready");
        }
        System.in.read();
        for (int i = 0; i < Integer.parseInt(args[1]); i++) {
            fetch(port);
        }
        System.out.println("opened");
        while (System.in.read() >= 0) {}
    }
}
