mod parts;
mod plain_pass;
mod precisions;
