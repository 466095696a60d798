# find_package(medsegx CONFIG) after `cargo cinstall`: the target medsegx::medsegx, through the installed pkg-config file,
# which knows where the library lies.
find_package(PkgConfig REQUIRED)
pkg_check_modules(MEDSEGX REQUIRED IMPORTED_TARGET medsegx)
if(NOT TARGET medsegx::medsegx)
  add_library(medsegx::medsegx INTERFACE IMPORTED)
  target_link_libraries(medsegx::medsegx INTERFACE PkgConfig::MEDSEGX)
endif()
