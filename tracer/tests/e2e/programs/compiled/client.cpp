// client PORT COUNT: opens COUNT connections by each of two ways, and keeps them until
// the end of its standard input.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace net {
class Client {
  public:
    explicit Client(int port) : port(port) {}

    [[gnu::noinline]] void fetch() {
        sockaddr_in peer{};
        peer.sin_family = AF_INET;
        peer.sin_port = htons(port);
        peer.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, reinterpret_cast<sockaddr *>(&peer), sizeof peer))
            throw std::runtime_error("connect");
        held.push_back(fd);
    }

    template <typename Text> [[gnu::noinline]] void named(const Text &name) {
        std::string all = "for " + name;
        fetch();
        if (all.size() > 99)
            held.clear();
    }

  private:
    int port;
    std::vector<int> held;
};
} // namespace net

int main(int, char **argv) {
    net::Client client(std::atoi(argv[1]));
    std::cout << "ready" << std::endl;
    std::cin.get();
    for (int i = 0; i < std::atoi(argv[2]); i++) {
        client.fetch();
        client.named(std::string("one"));
        usleep(20000);
    }
    std::cout << "opened" << std::endl;
    while (std::cin.get() != EOF)
        ;
}
