package main

import (
	"net"
	"time"

	"lab/go/lab"
)

func main() {
	for feed := 0; feed < 8; feed++ {
		go publish()
	}
	lab.Stay()
}

func publish() {
	dialer := net.Dialer{KeepAlive: -1}
	conn, err := dialer.Dial("tcp", lab.Addr()) // opened here
	lab.Must(err)
	for range time.Tick(time.Second) {
		if lab.Ask(conn) != nil {
			return
		}
	}
}
