//! Pages of the documentation, word by word: hosts are set up by the examples of a page, in its order, and its commands print
//! what it shows. The hosts of the pages about several of them are in namespaces of their own.

mod adopting;
mod host;
mod several_daemons;
mod several_hosts;
mod site;
mod troubleshooting;
