package main

import (
	"net"

	"lab/go/lab"
)

func main() {
	for feed := 0; feed < 6; feed++ {
		go push()
	}
	lab.Stay()
}

// push writes without a deadline.
func push() {
	conn, err := net.Dial("tcp", lab.Addr()) // opened here
	lab.Must(err)
	piece := make([]byte, 64<<10)
	for {
		if _, err := conn.Write(piece); err != nil {
			return
		}
	}
}
