package main

import (
	"log"
	"net"
	"time"

	"lab/go/lab"
)

func main() {
	for worker := 0; worker < 8; worker++ {
		go work(time.Duration(worker) * time.Second)
	}
	lab.Stay()
}

func open() net.Conn {
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.Dial("tcp", lab.Addr()) // opened here
	lab.Must(err)
	return conn
}

// work asks a few times in a row, every sixteen seconds, on a connection of
// its own; where no answer comes it opens another.
func work(start time.Duration) {
	time.Sleep(start)
	conn := open()
	for {
		for asked := 0; asked < 3; asked++ {
			conn.SetDeadline(time.Now().Add(4 * time.Second))
			if err := lab.Ask(conn); err != nil {
				log.Print(err)
				conn.Close()
				conn = open()
			}
			time.Sleep(300 * time.Millisecond)
		}
		time.Sleep(15 * time.Second)
	}
}
